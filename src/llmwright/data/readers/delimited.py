"""Tables in text files: CSV, TSV and their relatives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

from llmwright.core.errors import InputError
from llmwright.core.locale import text as sentence
from llmwright.data.readers.dialect import (
    Dialect,
    RawRecord,
    find_dialect,
    find_header,
    records,
)
from llmwright.data.readers.lines import Line, open_text, read_lines, text_problem
from llmwright.data.readers.record import ReadRequest, Record, Rejection, excerpt_of

_SAMPLE_CHARS = 1_000_000
_SAMPLE_LINES = 5000
_HEADER_RECORDS = 200

T = TypeVar("T", Line, RawRecord)


def read_csv(request: ReadRequest) -> Iterator[Record | Rejection]:
    """Yield the rows of a table, by default comma-separated.

    Raises:
        InputError: Only a header (``DATA-014``), two columns of one name (``DATA-022``), or a
            first record that could be a header or data (``DATA-023``).
    """
    return _read(request, default=",")


def read_tsv(request: ReadRequest) -> Iterator[Record | Rejection]:
    """Yield the rows of a table, by default tab-separated; errors as in `read_csv`."""
    return _read(request, default="\t")


def _read(request: ReadRequest, default: str) -> Iterator[Record | Rejection]:
    with open_text(
        request.path, request.encoding, keep_newlines=True, meter=request.meter
    ) as stream:
        lines = read_lines(stream, request.max_record_bytes)
        sample = _take(lines, _SAMPLE_LINES)
        dialect = find_dialect(_whole_lines(sample), request.delimiter, request.quoted, default)
        raw = records(itertools.chain(sample, lines), dialect, request.max_record_bytes)
        first = _take(raw, _HEADER_RECORDS)
        names, has_header = _columns(first, dialect, request)
        rest = itertools.chain(first, raw)
        if has_header:
            # What stands before the header could not be read and is rejected below.
            broken = list(itertools.takewhile(lambda record: record.problem is not None, rest))
            rest = itertools.chain(broken, rest)
        yield from _rows(rest, names, request.name)


def _take(source: Iterator[T], most: int) -> list[T]:
    """Return the first lines or records, fewer where they are long: they are held to the end."""
    taken: list[T] = []
    size = 0
    for item in source:
        taken.append(item)
        size += len(item.text)
        if size > _SAMPLE_CHARS or len(taken) >= most:
            break
    return taken


def _whole_lines(sample: Sequence[Line]) -> list[Line]:
    return [line for line in sample if not line.cut]


def _columns(
    first: Sequence[RawRecord], dialect: Dialect, request: ReadRequest
) -> tuple[list[str], bool]:
    """Return the column names and whether the first readable record holds them."""
    rows = [record.cells for record in first if record.problem is None]
    if not rows:
        return ["column_1"], False
    has_header = request.header
    if has_header is None:
        has_header = find_header(rows, request.columns, request.name)
    key = "data.table_header" if has_header else "data.table_no_header"
    quoting = sentence("data.quoted" if dialect.quoted else "data.not_quoted")
    request.say(sentence(key, delimiter=dialect.describe(), quoting=quoting))
    if not has_header:
        width = max((len(row) for row in rows), key=[len(row) for row in rows].count)
        return [f"column_{i}" for i in range(1, width + 1)], False
    names = [cell.strip() or f"column_{i}" for i, cell in enumerate(rows[0], start=1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError("DATA-022", path=request.name, column=twice)
    return names, True


def _rows(raw: Iterator[RawRecord], names: list[str], path: str) -> Iterator[Record | Rejection]:
    number = 0
    for number, record in enumerate(raw, start=1):
        problem = record.problem or text_problem(record.text)
        if problem is None and len(record.cells) != len(names):
            detail = f"{len(record.cells)} values where {len(names)} are expected"
            problem = ("columns", detail)
        if problem is not None:
            yield Rejection(number, record.line, *problem, excerpt_of(record.text))
        else:
            yield Record(number, record.line, dict(zip(names, record.cells, strict=True)))
    if number == 0:
        raise InputError("DATA-014", path=path)
