"""How a delimited file is written: delimiter, quoting, header; found on its first part.

Each candidate is tried with the same code that later reads the file, so what is judged is what
will happen.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from llmwright.core.errors import InputError
from llmwright.core.locale import text as sentence
from llmwright.data.readers.lines import Line

DELIMITERS = (",", "\t", ";", "|")
NAMES = {
    ",": "data.comma",
    "\t": "data.tab",
    ";": "data.semicolon",
    "|": "data.pipe",
    " ": "data.space",
}
_IDENTIFIER = re.compile(r"[A-Za-z_][\w .:/()-]{0,40}")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?%?")
# Names that say "this is a header" wherever they stand in a first record.
_KNOWN_NAMES = """
    text label labels category class intent sentiment sentence sentence1 sentence2 text_a text_b
    input output target source question answer prompt completion response review content title
    document summary instruction id idx index url date name tag topic score rating comment query
    文本 标签 类别 输入 输出 问题 答案 内容 标题 评论 原文 译文 描述 天气
"""
KNOWN_NAMES = frozenset(_KNOWN_NAMES.split())


@dataclass(frozen=True)
class Dialect:
    """Delimiter, and whether double quotes enclose cells."""

    delimiter: str
    quoted: bool

    def describe(self) -> str:
        """Return the delimiter's name in the user's language."""
        name = NAMES.get(self.delimiter)
        return repr(self.delimiter) if name is None else sentence(name)


@dataclass(frozen=True)
class RawRecord:
    """Cells of one record, or what is wrong with it.

    Attributes:
        line: Line where it begins.
        cells: The values; empty when there is a problem.
        text: The record as written, at most its beginning when it is too large.
        problem: Reason and detail of a rejection.
    """

    line: int
    cells: list[str]
    text: str
    problem: tuple[str, str] | None = None


def records(lines: Iterable[Line], dialect: Dialect, max_chars: int) -> Iterator[RawRecord]:
    """Yield the records of delimited lines; blank lines are none.

    A quote that is never closed costs one line: reading goes on behind it.
    """
    source = iter(lines)
    waiting: deque[Line] = deque()
    while (line := waiting.popleft() if waiting else next(source, None)) is not None:
        if not line.text.strip():
            continue
        if line.cut:
            problem = ("too_large", "the line is larger than max_record_bytes")
            yield RawRecord(line.number, [], line.text, problem)
        elif not dialect.quoted or '"' not in line.text:
            cells = line.text.rstrip("\r\n").split(dialect.delimiter)
            yield RawRecord(line.number, cells, line.text)
        else:
            yield _quoted_record(line, waiting, source, dialect, max_chars)


def _quoted_record(
    first: Line, waiting: deque[Line], source: Iterator[Line], dialect: Dialect, max_chars: int
) -> RawRecord:
    """Return the record that begins with a line; the reader asks for more while a quote is open."""
    taken: list[Line] = []
    # The limit is global to the csv module; records are bounded by what `_feed` hands out.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * max_chars + 2))
    feed = _feed(first, taken, waiting, source, max_chars)
    try:
        cells = next(csv.reader(feed, delimiter=dialect.delimiter, strict=True))
    except csv.Error as error:
        waiting.extendleft(reversed(taken[1:]))
        unclosed = "unexpected end of data" in str(error)
        detail = "a quote is never closed" if unclosed else str(error)
        return RawRecord(first.number, [], first.text, ("quoting", detail))
    return RawRecord(first.number, cells, "".join(line.text for line in taken))


def _feed(
    first: Line, taken: list[Line], waiting: deque[Line], source: Iterator[Line], max_chars: int
) -> Iterator[str]:
    """Yield the text of lines as long as a record may go on, and note which were taken."""
    line: Line | None = first
    size = 0
    while line is not None and not line.cut and size <= max_chars:
        taken.append(line)
        size += len(line.text)
        yield line.text
        line = waiting.popleft() if waiting else next(source, None)
    if line is not None:
        waiting.appendleft(line)


def find_dialect(
    sample: Sequence[Line], delimiter: str | None, quoted: bool | None, default: str
) -> Dialect:
    """Return the dialect under which the sample's records agree best on their number of columns.

    Args:
        sample: First lines of the file.
        delimiter: The user's, when given.
        quoted: The user's, when given.
        default: Delimiter to take when all are equally good.
    """
    found = [delimiter] if delimiter else [default, *(d for d in DELIMITERS if d != default)]
    best, best_score = Dialect(found[0], quoted is not False), -1.0
    for candidate in found:
        # Without any quote in sight, a comma-separated file may still have some later on, where a
        # tab-separated one by its definition has none.
        order = (False, True) if candidate == "\t" else (True, False)
        for way in order if quoted is None else (quoted,):
            dialect = Dialect(candidate, way)
            score = _agreement(sample, dialect)
            if score > best_score:
                best, best_score = dialect, score
    return best


def _agreement(sample: Sequence[Line], dialect: Dialect) -> float:
    size = sum(len(line.text) for line in sample)
    found = list(records(sample, dialect, size))
    widths = Counter(len(record.cells) for record in found if record.problem is None)
    if not widths:
        return 0.0
    width, agreeing = max(widths.items(), key=lambda item: (item[1], item[0]))
    score = agreeing / len(found) * (1.0 if width > 1 else 0.5)
    if not dialect.quoted and _has_quoted_cells(found):
        score *= 0.99
    return score


def _has_quoted_cells(found: Sequence[RawRecord]) -> bool:
    """Say whether quotes are used as quotes: cells in quotes that hold doubled quotes."""
    return any(
        cell[0] == cell[-1] == '"' and '""' in cell[1:-1]
        for record in found
        for cell in record.cells
        if len(cell) > 2
    )


def find_header(rows: Sequence[list[str]], columns: frozenset[str], path: str) -> bool:
    """Say whether the first record names the columns.

    Args:
        rows: The first records, that one included.
        columns: Names the user spoke of.
        path: File, for the error.

    Raises:
        InputError: It could be either (``DATA-023``).
    """
    head, body = [cell.strip() for cell in rows[0]], rows[1:]
    named = [cell for cell in head if cell]
    known = [cell for cell in named if cell.lower() in KNOWN_NAMES]
    if columns & set(head) or (len(known) > 1 and known == named):
        return True
    # Some of these words are labels too: what recurs further down is a value.
    if any(cell in {row[i].strip() for row in body if i < len(row)} for i, cell in enumerate(head)):
        return False
    if known:
        return True
    unlike_names = (
        not named
        or len(set(named)) < len(named)
        or any(_NUMBER.fullmatch(cell) or len(cell) > 60 for cell in named)
    )
    if unlike_names:
        return False
    numeric = any(_is_numeric(body, i) for i, cell in enumerate(head) if cell)
    if numeric or all(_IDENTIFIER.fullmatch(cell) and " " not in cell for cell in named):
        return True
    if any(cell[-1] in ".?!。？！," or len(cell) > 30 or cell.count(" ") > 3 for cell in named):
        return False
    raise InputError("DATA-023", path=path, cells=", ".join(head))


def _is_numeric(body: Sequence[list[str]], index: int) -> bool:
    cells = [row[index].strip() for row in body if index < len(row)]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)
