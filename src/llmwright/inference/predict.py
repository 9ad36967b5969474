"""Answering a file of rows: as it goes, with progress, and from where it stopped.

The answers are JSON lines (each row with ``answer`` added) or, in a ``.csv``, each row with the
columns ``answer``, ``score`` and ``note`` added; a column of the user's that has such a name keeps
it, and ours is then called ``answer_of_model``. A row that cannot be answered costs only itself.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.errors import ConfigError, InputError, LLMwrightError
from llmwright.core.events import Emit, Progress
from llmwright.data.readers.record import Record, Rejection
from llmwright.data.records import Row
from llmwright.inference.predictor import BATCH_SIZE, LocalPredictor
from llmwright.inference.rows import read_rows

# Batches between two writes: what a kill may cost.
SAVED_BATCHES = 4
COLUMNS = ("answer", "score", "note")


def predict_file(
    predictor: LocalPredictor,
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
    items = read_rows(source, predictor)
    skipped = count = _continue(out, items, form)
    with files.disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("ab") as file:
            for part in iter(lambda: list(islice(items, batch_size * SAVED_BATCHES)), []):
                answers = _answers(part, predictor, batch_size, generation)
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
    predictor: LocalPredictor,
    batch_size: int,
    generation: dict[str, Any],
) -> list[dict[str, Any]]:
    """Return an answer, or an ``error``, for each item."""
    rows = [item.values for item in part if isinstance(item, Record)]
    try:
        found = list(predictor.predict(rows, batch_size, **generation))
    except InputError:
        # One of them is at fault; asked one by one the others get their answers.
        found = [_answer_alone(row, predictor, generation) for row in rows]
    waiting = iter(found)
    return [
        next(waiting) if isinstance(item, Record) else {"error": f"{item.reason}: {item.detail}"}
        for item in part
    ]


def _answer_alone(
    row: Row, predictor: LocalPredictor, generation: dict[str, Any]
) -> dict[str, Any]:
    try:
        return next(predictor.predict([row], **generation))
    except LLMwrightError as error:
        return {"error": str(error)}


def _row(item: Record | Rejection) -> Row:
    return item.values if isinstance(item, Record) else {"excerpt": item.excerpt}


class JsonForm:
    """One JSON object per line."""

    def lines(
        self, part: Sequence[Record | Rejection], answers: Sequence[dict[str, Any]], is_first: bool
    ) -> Iterator[bytes]:
        """Yield the bytes to append."""
        for item, answer in zip(part, answers, strict=True):
            row = _row(item)
            body = {**row, _free(COLUMNS[0], list(row)): answer}
            yield json.dumps(body, ensure_ascii=False, default=str).encode() + b"\n"

    def kept(self, record: bytes) -> Row:
        """Return the row of a record that was written before.

        Raises:
            ValueError, KeyError, TypeError: It was not written here.
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

    def lines(
        self, part: Sequence[Record | Rejection], answers: Sequence[dict[str, Any]], is_first: bool
    ) -> Iterator[bytes]:
        """Yield the bytes to append; the header goes before the first record."""
        if not self._header:
            own = next((list(i.values) for i in part if isinstance(i, Record)), ["excerpt"])
            self._header = [*own, *(_free(name, own) for name in COLUMNS)]
        if is_first:
            yield _csv_line(self._header)
        for item, answer in zip(part, answers, strict=True):
            row = _row(item)
            cells = [_cell(row.get(name)) for name in self._header[: -len(COLUMNS)]]
            yield _csv_line([*cells, *_answer_cells(answer)])

    def kept(self, record: bytes) -> Row:
        """Return the row of a record that was written before; the header gives its names.

        Raises:
            ValueError: It was not written here.
        """
        (cells,) = csv.reader(io.StringIO(record.decode(), newline=""))
        if not self._header:
            if len(cells) <= len(COLUMNS) or not cells[-1].startswith(COLUMNS[-1]):
                raise ValueError("no header of ours")
            self._header = cells
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
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)


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
        except (ValueError, KeyError, TypeError) as error:
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
