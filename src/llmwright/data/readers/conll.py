"""CoNLL files: a token and its tags in each line, a blank line between sentences.

CoNLL-U is recognised by its ten columns that begin with a number; its comments, multi-word ranges
(``1-2``) and empty nodes (``1.1``) are no tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llmwright.core.errors import InputError
from llmwright.core.locale import text as sentence
from llmwright.data.readers.lines import Line, open_text, read_lines, text_problem
from llmwright.data.readers.record import ReadRequest, Record, Rejection, excerpt_of

_SAMPLE_LINES = 2000
_UNIVERSAL = ("id", "tokens", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_LANGUAGE_PREFIX = re.compile(r"[a-z]{2,3}:")


@dataclass(frozen=True)
class Layout:
    """How the lines are built.

    Attributes:
        delimiter: Tab, or None for any white space.
        names: Column names, ``tokens`` among them.
        prefix: Prefix of every token, as ``en:`` in WikiANN; it is taken off.
    """

    delimiter: str | None
    names: tuple[str, ...]
    prefix: str

    def cells(self, text: str) -> list[str]:
        """Return the cells of one line."""
        if self.delimiter is None:
            return text.split()
        return text.rstrip("\r\n").split(self.delimiter)


def read_conll(request: ReadRequest) -> Iterator[Record | Rejection]:
    """Yield sentences: ``tokens`` and a list for each further column.

    The last column is called ``tags``; in CoNLL-U the columns have their own names.

    Raises:
        InputError: The file has no lines with a token and a tag (``DATA-024``).
    """
    layout = find_layout(_sample(request), request.delimiter)
    if layout is None:
        raise InputError("DATA-024", path=request.name)
    columns = ", ".join(name for name in layout.names if name not in ("id", "tokens"))
    request.say(sentence("data.conll_columns", columns=columns))
    if layout.prefix:
        request.say(sentence("data.conll_prefix", prefix=layout.prefix))
    number = 0
    with open_text(request.path, request.encoding, meter=request.meter) as stream:
        for lines in _sentences(read_lines(stream, request.max_record_bytes), layout):
            number += 1
            yield _sentence(number, lines, layout, request.max_record_bytes)


def _sample(request: ReadRequest) -> list[str]:
    with open_text(request.path, request.encoding) as stream:
        lines = zip(
            range(_SAMPLE_LINES), read_lines(stream, request.max_record_bytes), strict=False
        )
        return [line.text for _, line in lines if not line.cut]


def find_layout(sample: list[str], delimiter: str | None = None) -> Layout | None:
    """Return the layout of a CoNLL file by its first lines, or None when it is not one.

    Args:
        sample: First lines of the file.
        delimiter: The user's, when given; otherwise a tab, else white space.
    """
    filled = [line for line in sample if line.strip() and not line.startswith("-DOCSTART-")]
    for candidate in [delimiter] if delimiter else ["\t", None]:
        widths = Counter(len(Layout(candidate, (), "").cells(line)) for line in filled)
        width, agreeing = widths.most_common(1)[0] if widths else (0, 0)
        comments = sum(line.startswith("# ") for line in filled)
        if width < 2 or agreeing < 0.95 * (len(filled) - comments):
            continue
        rows = [Layout(candidate, (), "").cells(line) for line in filled]
        rows = [row for row in rows if len(row) == width]
        names = _names(rows, width)
        return Layout(candidate, names, _prefix(rows, names.index("tokens")))
    return None


def _names(rows: list[list[str]], width: int) -> tuple[str, ...]:
    if width == len(_UNIVERSAL) and all(row[0][:1].isdigit() for row in rows):
        return _UNIVERSAL
    return ("tokens", *(f"column_{i}" for i in range(2, width)), "tags")


def _prefix(rows: list[list[str]], index: int) -> str:
    found = {m.group() if (m := _LANGUAGE_PREFIX.match(row[index])) else "" for row in rows}
    return found.pop() if len(found) == 1 and len(rows) > 10 else ""


def _sentences(lines: Iterator[Line], layout: Layout) -> Iterator[list[Line]]:
    held: list[Line] = []
    for line in lines:
        comment = line.text.startswith("#") and len(layout.cells(line.text)) != len(layout.names)
        if comment or line.text.startswith("-DOCSTART-"):
            continue
        if line.text.strip():
            held.append(line)
        elif held:
            yield held
            held = []
    if held:
        yield held


def _sentence(number: int, lines: list[Line], layout: Layout, max_chars: int) -> Record | Rejection:
    start, text = lines[0].number, "".join(line.text for line in lines)
    if any(line.cut for line in lines) or len(text) > max_chars:
        detail = "the sentence is larger than max_record_bytes"
        return Rejection(number, start, "too_large", detail, excerpt_of(text))
    if problem := text_problem(text):
        return Rejection(number, start, *problem, excerpt_of(text))
    rows: list[list[str]] = []
    for line in lines:
        cells = layout.cells(line.text)
        if len(cells) != len(layout.names) or not cells[layout.names.index("tokens")].strip():
            detail = f"line {line.number}: no token with {len(layout.names) - 1} columns behind it"
            return Rejection(number, start, "columns", detail, excerpt_of(line.text))
        if layout.names is not _UNIVERSAL or cells[0].isdigit():
            rows.append(cells)
    columns = dict(zip(layout.names, zip(*rows, strict=True), strict=True)) if rows else {}
    values = {name: list(cells) for name, cells in columns.items()}
    if layout.prefix and rows:
        values["tokens"] = [token.removeprefix(layout.prefix) for token in values["tokens"]]
    return Record(number, start, values)
