"""Answering a file of rows: as it goes, with progress, and from where it stopped.

The answers are JSON lines (each row with ``answer`` added) or, in a ``.csv``, each row with the
columns ``answer``, ``score`` and ``note`` added; a column of the user's that has such a name keeps
it, and ours is then called ``answer_of_model``. A row that cannot be answered costs only itself.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.events import Emit, Progress
from llmwright.data.readers.record import Record, Rejection
from llmwright.data.records import Row
from llmwright.inference.predictor import BATCH_SIZE, Predictor
from llmwright.inference.rows import read_rows
from llmwright.inference.sampling import Settings
from llmwright.tasks.task import Example

# Batches between two writes: what a kill may cost.
SAVED_BATCHES = 4
COLUMNS = ("answer", "score", "note")


def predict_file(
    predictor: Predictor,
    source: Path,
    out: Path,
    *,
    batch_size: int = BATCH_SIZE,
    consumers: Sequence[Emit] = (),
    **generation: Any,
) -> dict[str, int]:
    """Answer the rows of a file in their order; an output file that is there is continued.

    Args:
        predictor: Answers.
        source: Any file that `prepare` reads.
        out: ``.jsonl`` or ``.csv``; its whole records count as the first answers.
        batch_size: Rows that go through the model together.
        consumers: Receive the progress.
        **generation: As in `Predictor.predict`.

    Returns:
        ``count`` of the answers in the file, ``skipped`` of those that were there already.

    Raises:
        InputError: No such source (``INFER-021``), or the output file holds something else
            (``INFER-017``) or answers of other rows (``INFER-018``).
        ConfigError: The output's name has another ending (``INFER-022``).
        ResourceError: The output file cannot be written.
    """
    form = _form_of(out)
    settings = predictor.settings(**generation)
    form.prepare(read_rows(source, predictor))
    items = read_rows(source, predictor)
    skipped = count = _continue(out, items, form)
    with files.disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("ab") as file:
            for part in iter(lambda: list(islice(items, batch_size * SAVED_BATCHES)), []):
                answers = _answers(part, predictor, count, batch_size, settings)
                file.writelines(form.lines(part, answers, is_first=count == 0))
                file.flush()
                count += len(part)
                _tell(consumers, count)
    return {"count": count, "skipped": skipped}


def _tell(consumers: Sequence[Emit], count: int) -> None:
    for consumer in consumers:
        consumer(Progress("predict", count, None, "rows"))


def _answers(
    part: list[Record | Rejection],
    predictor: Predictor,
    first: int,
    batch_size: int,
    settings: Settings,
) -> list[dict[str, Any]]:
    """Return an answer, or an ``error``, for each item; ``first`` is the first one's place."""
    answers: dict[int, dict[str, Any]] = {}
    rows: dict[int, Row] = {}
    examples: list[Example] = []
    for place, item in enumerate(part, start=first):
        if isinstance(item, Rejection):
            answers[place] = {"error": f"{item.reason}: {item.detail}"}
            continue
        try:
            row = predictor.read(item.values)
            examples.append(predictor.encode(row))
            rows[place] = row
        except InputError as error:
            answers[place] = {"error": str(error)}
    found = predictor.answer(list(rows.values()), examples, list(rows), batch_size, settings)
    answers |= {place: one.answer for place, one in zip(rows, found, strict=True)}
    return [answers[place] for place in range(first, first + len(part))]


def _row(item: Record | Rejection) -> Row:
    return item.values if isinstance(item, Record) else {"excerpt": item.excerpt}


class JsonForm:
    """One JSON object per line."""

    def prepare(self, items: Iterable[Record | Rejection]) -> None:
        """Take nothing from a first look: each line has its own names."""

    def lines(
        self, part: Sequence[Record | Rejection], answers: Sequence[dict[str, Any]], is_first: bool
    ) -> Iterator[bytes]:
        """Yield the bytes to append."""
        for item, answer in zip(part, answers, strict=True):
            row = _row(item)
            body = {**row, _free(COLUMNS[0], list(row)): answer}
            line = json.dumps(body, ensure_ascii=False, default=str)
            # Lone surrogates become the escapes that JSON knows for them.
            yield line.encode("utf-8", "backslashreplace") + b"\n"

    def kept(self, record: bytes) -> Row:
        """Return the row of a record that was written before.

        Raises:
            ValueError, KeyError, AttributeError: It was not written here.
        """
        values: Row = json.loads(record)
        # Ours is the last one.
        name, _ = values.popitem()
        if not name.startswith(COLUMNS[0]):
            raise KeyError(name)
        return values

    def same(self, kept: Row, item: Record | Rejection) -> bool:
        """Say whether that row is this one."""
        # Through JSON, as the line went: a date comes back as text.
        return bool(json.loads(json.dumps(_row(item), default=str)) == kept)


class CsvForm:
    """A table with a header; cells with commas, quotes or line ends are quoted."""

    def __init__(self) -> None:
        self._header: list[str] = []
        self._continues = False

    def prepare(self, items: Iterable[Record | Rejection]) -> None:
        """Take the columns of all rows: a table cannot get another one later."""
        own: dict[str, None] = {}
        last: dict[str, None] = {}
        for item in items:
            (own if isinstance(item, Record) else last).update(dict.fromkeys(_row(item)))
        names = [*own, *(name for name in last if name not in own)]
        self._header = [*names, *(_free(name, names) for name in COLUMNS)]

    def lines(
        self, part: Sequence[Record | Rejection], answers: Sequence[dict[str, Any]], is_first: bool
    ) -> Iterator[bytes]:
        """Yield the bytes to append; the header goes before the first record."""
        if is_first:
            yield _csv_line(self._header)
        for item, answer in zip(part, answers, strict=True):
            row = _row(item)
            cells = [_cell(row.get(name)) for name in self._header[: -len(COLUMNS)]]
            yield _csv_line([*cells, *_answer_cells(answer)])

    def kept(self, record: bytes) -> Row:
        """Return the row of a record that was written before; the header gives its names.

        Raises:
            ValueError, csv.Error: It was not written here.
        """
        text = record.decode()
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        (cells,) = csv.reader(io.StringIO(text, newline=""))
        if not self._continues:
            if cells != self._header:
                raise ValueError("another header")
            self._continues = True
            return {}
        return dict(zip(self._header[: -len(COLUMNS)], cells, strict=False))

    def same(self, kept: Row, item: Record | Rejection) -> bool:
        """Say whether that row is this one."""
        row = _row(item)
        return all(_cell(row.get(name)) == value for name, value in kept.items())


AnswerForm = JsonForm | CsvForm


FORMS: dict[str, type[AnswerForm]] = {".csv": CsvForm, ".jsonl": JsonForm, ".ndjson": JsonForm}


def _form_of(out: Path) -> AnswerForm:
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


def _answer_cells(answer: dict[str, Any]) -> list[str]:
    """Return the answer, its score and what is unusual about it as cells."""
    if "error" in answer:
        return ["", "", answer["error"]]
    name = next(key for key in ("text", "label", "labels", "tags") if key in answer)
    scores = answer.get("scores", {})
    score = _cell(scores[answer["label"]]) if name == "label" else ""
    notes = ["truncated"] if answer.get("truncated") else []
    notes += ["length"] if answer.get("finish_reason") == "length" else []
    return [_cell(answer[name]), score, " ".join(notes)]


def _csv_line(cells: Sequence[str]) -> bytes:
    line = io.StringIO(newline="")
    # A carriage return alone ends a line too, which the writer does not heed.
    if any("\r" in cell for cell in cells):
        csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    else:
        csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def _continue(out: Path, items: Iterator[Record | Rejection], form: AnswerForm) -> int:
    """Take as many rows as the file has answers, and cut off a record that a kill left half."""
    if not out.is_file():
        return 0
    count = whole_bytes = 0
    for record in _whole_records(out, isinstance(form, CsvForm)):
        try:
            kept = form.kept(record)
        except (ValueError, KeyError, AttributeError, csv.Error) as error:
            raise InputError("INFER-017", path=out, record=count + 1) from error
        is_header = isinstance(form, CsvForm) and whole_bytes == 0
        whole_bytes += len(record)
        if is_header:
            continue
        item = next(items, None)
        count += 1
        if item is None or not form.same(kept, item):
            raise InputError("INFER-018", path=out, record=count)
    if whole_bytes < out.stat().st_size:
        with files.disk_errors(out), out.open("r+b") as file:
            file.truncate(whole_bytes if count else 0)
    return count


def _whole_records(out: Path, is_table: bool) -> Iterator[bytes]:
    """Yield the complete records of a file; in a table a quoted cell may span several lines."""
    held = b""
    with out.open("rb") as file:
        for line in file:
            held += line
            closed = not is_table or held.count(b'"') % 2 == 0
            if closed and line.endswith(b"\n"):
                yield held
                held = b""
