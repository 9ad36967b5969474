"""JSON lines: one JSON object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from llmwright.data.readers.json_file import as_record, parse
from llmwright.data.readers.lines import Line, open_text, read_lines
from llmwright.data.readers.record import ReadRequest, Record, Rejection, excerpt_of


def read_json_lines(request: ReadRequest) -> Iterator[Record | Rejection]:
    """Yield one record per line; blank lines are none."""
    number = 0
    with open_text(request.path, request.encoding, meter=request.meter) as stream:
        for line in read_lines(stream, request.max_record_bytes):
            if line.text.strip():
                number += 1
                yield _record(number, line)


def _record(number: int, line: Line) -> Record | Rejection:
    if line.cut:
        detail = "the line is larger than max_record_bytes"
        return Rejection(number, line.number, "too_large", detail, excerpt_of(line.text))
    try:
        return as_record(parse(line.text), number, line.number)
    except json.JSONDecodeError as error:
        return Rejection(number, line.number, "json", str(error), excerpt_of(line.text.strip()))
