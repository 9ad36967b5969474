"""How answers are written to a file, and how what was written before is read back.

JSON lines: each row with ``answer`` added. Tables (``.csv``, ``.tsv``): each row with the columns
``answer`` (of a tagger: pairs of word and tag), ``score`` and ``note``; so in Parquet, whose rows
lie in a file of JSON lines beside it until the last is there. A column of the user's that has such
a name keeps it, and ours is then called ``answer_of_model``.
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from llmwright.core.errors import ConfigError
from llmwright.data.readers.record import Record, Rejection
from llmwright.data.records import Row

COLUMNS = ("answer", "score", "note")
# Notes of rows that have an answer; any other note is a reason why a row has none.
TRUNCATED, LENGTH = "truncated", "length"


def row_of(item: Record | Rejection) -> Row:
    """Return what of an item is written beside its answer."""
    return item.values if isinstance(item, Record) else {"excerpt": item.excerpt}


class Form(ABC):
    """One way to write answers.

    Attributes:
        is_table: Whether the first record names the columns and a record may span several lines.
    """

    is_table: ClassVar[bool] = False

    def journal(self, out: Path) -> Path:
        """Return the file that grows while rows are answered: mostly the output itself."""
        return out

    def finish(self, out: Path) -> None:
        """Make the output of a complete journal, where it is another file."""
        return

    def prepare(self, items: Iterable[Record | Rejection]) -> int:
        """Look at all rows once and return how many there are."""
        return sum(1 for _ in items)

    @abstractmethod
    def lines(
        self, part: Sequence[Record | Rejection], answers: Sequence[dict[str, Any]], is_first: bool
    ) -> Iterator[bytes]:
        """Yield the bytes to append; what names the columns goes before the first record."""

    @abstractmethod
    def kept(self, record: bytes) -> tuple[Row, str | None]:
        """Return the row of a record that was written before, and why it has no answer.

        Raises:
            ValueError, KeyError, AttributeError, csv.Error: It was not written here.
        """

    @abstractmethod
    def same(self, kept: Row, item: Record | Rejection) -> bool:
        """Say whether that row is this one."""


class JsonForm(Form):
    """One JSON object per line."""

    def lines(
        self, part: Sequence[Record | Rejection], answers: Sequence[dict[str, Any]], is_first: bool
    ) -> Iterator[bytes]:
        """Yield the bytes to append."""
        for item, answer in zip(part, answers, strict=True):
            row = row_of(item)
            body = {**row, **self._added(answer, list(row))}
            line = json.dumps(body, ensure_ascii=False, default=str)
            # Lone surrogates become the escapes that JSON knows for them.
            yield line.encode("utf-8", "backslashreplace") + b"\n"

    def kept(self, record: bytes) -> tuple[Row, str | None]:
        """Return the row of a record that was written before, and why it has no answer.

        Raises:
            ValueError, KeyError, AttributeError: It was not written here.
        """
        values: Row = json.loads(record)
        # Ours is the last one.
        name, answer = values.popitem()
        if not name.startswith(COLUMNS[0]):
            raise KeyError(name)
        return values, answer.get("error")

    def _added(self, answer: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        return {_free(COLUMNS[0], names): answer}

    def same(self, kept: Row, item: Record | Rejection) -> bool:
        """Say whether that row is this one."""
        # Through JSON, as the line went: a date comes back as text.
        return bool(json.loads(json.dumps(row_of(item), default=str)) == kept)


class ParquetForm(JsonForm):
    """A Parquet table, written once its journal of JSON lines is complete."""

    def journal(self, out: Path) -> Path:
        """Return the file of JSON lines beside the table."""
        return out.with_name(f"{out.name}.partial.jsonl")

    def finish(self, out: Path) -> None:
        """Write the table and remove the journal."""
        import polars as pl

        journal = self.journal(out)
        begun = out.with_name(f"{out.name}.partial")
        pl.scan_ndjson(journal, infer_schema_length=None).sink_parquet(begun)
        begun.replace(out)
        journal.unlink()

    def kept(self, record: bytes) -> tuple[Row, str | None]:
        """Return the row of a record and its error, as `Form.kept` says."""
        values: Row = json.loads(record)
        (name, note), _, _ = values.popitem(), values.popitem(), values.popitem()
        if not name.startswith(COLUMNS[-1]):
            raise KeyError(name)
        return values, note if _is_reason(note) else None

    def _added(self, answer: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        free = [_free(name, names) for name in COLUMNS]
        return dict(zip(free, _answer_values(answer), strict=True))


class CsvForm(Form):
    """A table with a header; cells with the delimiter, quotes or line ends are quoted."""

    is_table: ClassVar[bool] = True
    delimiter: ClassVar[str] = ","

    def __init__(self) -> None:
        self._header: list[str] = []
        self._continues = False

    def prepare(self, items: Iterable[Record | Rejection]) -> int:
        """Take the columns of all rows: a table cannot get another one later."""
        own: dict[str, None] = {}
        last: dict[str, None] = {}
        count = 0
        for count, item in enumerate(items, start=1):  # noqa: B007
            (own if isinstance(item, Record) else last).update(dict.fromkeys(row_of(item)))
        names = [*own, *(name for name in last if name not in own)]
        self._header = [*names, *(_free(name, names) for name in COLUMNS)]
        return count

    def lines(
        self, part: Sequence[Record | Rejection], answers: Sequence[dict[str, Any]], is_first: bool
    ) -> Iterator[bytes]:
        """Yield the bytes to append; the header goes before the first record."""
        if is_first:
            yield self._line(self._header)
        for item, answer in zip(part, answers, strict=True):
            row = row_of(item)
            cells = [_cell(row.get(name)) for name in self._header[: -len(COLUMNS)]]
            yield self._line([*cells, *map(_cell, _answer_values(answer))])

    def kept(self, record: bytes) -> tuple[Row, str | None]:
        """Return the row of a record that was written before, and why it has no answer.

        The header, which is the first one, gives the names.

        Raises:
            ValueError, csv.Error: It was not written here.
        """
        text = record.decode()
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        (cells,) = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        if not self._continues:
            if cells != self._header:
                raise ValueError("another header")
            self._continues = True
            return {}, None
        own, note = cells[: -len(COLUMNS)], cells[-1]
        error = note if _is_reason(note) else None
        return dict(zip(self._header, own, strict=False)), error

    def same(self, kept: Row, item: Record | Rejection) -> bool:
        """Say whether that row is this one."""
        row = row_of(item)
        return all(_cell(row.get(name)) == value for name, value in kept.items())

    def _line(self, cells: Sequence[str]) -> bytes:
        line = io.StringIO(newline="")
        # A carriage return alone ends a line too, which the writer does not heed.
        everything = any("\r" in cell for cell in cells)
        csv.writer(
            line,
            lineterminator="\n",
            delimiter=self.delimiter,
            quoting=csv.QUOTE_ALL if everything else csv.QUOTE_MINIMAL,
        ).writerow(cells)
        return line.getvalue().encode()


class TsvForm(CsvForm):
    """A table whose cells are parted by tabs."""

    delimiter: ClassVar[str] = "\t"


FORMS: dict[str, type[Form]] = {
    ".csv": CsvForm,
    ".tsv": TsvForm,
    ".jsonl": JsonForm,
    ".ndjson": JsonForm,
    ".parquet": ParquetForm,
}


def form_of(out: Path) -> Form:
    """Return how a file of this name is written.

    Raises:
        ConfigError: Its ending is not known (``INFER-022``).
    """
    if out.suffix.lower() not in FORMS:
        raise ConfigError("INFER-022", path=out, endings=", ".join(FORMS))
    return FORMS[out.suffix.lower()]()


def _free(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else f"{name}_of_model"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()


# What an answer is called, by task; the first that is there is what a table shows.
ANSWERS = ("text", "label", "labels", "value", "score", "tags", "embedding")


def _answer_values(answer: dict[str, Any]) -> list[Any]:
    """Return the answer, its score and what is unusual about it; None where there is none."""
    if "error" in answer:
        return [None, None, answer["error"]]
    name = next(key for key in ANSWERS if key in answer)
    score = answer.get("scores", {})[answer["label"]] if name == "label" else None
    notes = [TRUNCATED] if answer.get("truncated") else []
    notes += [LENGTH] if answer.get("finish_reason") == "length" else []
    # A text was cut into words here: tags alone would belong to nothing the row shows.
    tagged = name == "tags"
    value = list(zip(answer["tokens"], answer[name], strict=True)) if tagged else answer[name]
    return [value, score, " ".join(notes)]


def _is_reason(note: str) -> bool:
    """Say whether a note tells why a row has no answer."""
    return not set((note or "").split()) <= {TRUNCATED, LENGTH}


def whole_records(out: Path, is_table: bool) -> Iterator[bytes]:
    """Yield the complete records of a file; in a table a quoted cell may span several lines."""
    held = b""
    with out.open("rb") as file:
        for line in file:
            held += line
            closed = not is_table or held.count(b'"') % 2 == 0
            if closed and line.endswith(b"\n"):
                yield held
                held = b""
