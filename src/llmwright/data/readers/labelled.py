"""Lines that begin with a label and a space, as in TREC (``DESC:def What is …``) and fastText."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmwright.data.readers.lines import open_text, read_lines, text_problem
from llmwright.data.readers.record import ReadRequest, Record, Rejection, excerpt_of

_PREFIX = "__label__"
_SEVERAL = re.compile(rf"\s*{_PREFIX}\S* {_PREFIX}")


def read_labelled(request: ReadRequest) -> Iterator[Record | Rejection]:
    """Yield records with ``text`` and ``label``, in all rows a list once one row has several."""
    number, several = 0, _has_several(request)
    with open_text(request.path, request.encoding, meter=request.meter) as stream:
        for line in read_lines(stream, request.max_record_bytes):
            if not line.text.strip():
                continue
            number += 1
            text = line.text.strip()
            if line.cut:
                detail = "the line is larger than max_record_bytes"
                yield Rejection(number, line.number, "too_large", detail, excerpt_of(text))
            elif problem := text_problem(text):
                yield Rejection(number, line.number, *problem, excerpt_of(text))
            else:
                yield _record(number, line.number, text, several)


def _has_several(request: ReadRequest) -> bool:
    with open_text(request.path, request.encoding) as stream:
        lines = read_lines(stream, request.max_record_bytes)
        return any(_SEVERAL.match(line.text) for line in lines)


def _record(number: int, line: int, text: str, several: bool) -> Record | Rejection:
    labels: list[str] = []
    first, _, rest = text.partition(" ")
    while first.startswith(_PREFIX):
        labels.append(first.removeprefix(_PREFIX))
        first, _, rest = rest.partition(" ")
    if labels:
        label: object = labels if several else labels[0]
        return Record(number, line, {"text": f"{first} {rest}".strip(), "label": label})
    if not rest.strip():
        return Rejection(number, line, "columns", "no text after the label", excerpt_of(text))
    return Record(number, line, {"text": rest.strip(), "label": first})
