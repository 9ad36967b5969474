"""Answering a file of rows: as it goes, with progress, and from where it stopped.

The answers are JSON lines (each row with ``answer`` added) or, in a ``.csv``, each row with the
columns ``answer`` (of a tagger: pairs of word and tag), ``score`` and ``note`` added; a column of
the user's that has such a name keeps it, and ours is then called ``answer_of_model``. A row that
cannot be answered costs only itself. Who answered, and how, lies beside the file
(``answers.csv.origin.json``): only the same model with the same settings goes on, or finds that
nothing is left to do.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.events import Emit, Progress
from llmwright.data.config import PrepareConfig
from llmwright.data.readers.record import Record, Rejection
from llmwright.data.records import Row
from llmwright.inference.predictor import BATCH_SIZE, Predictor
from llmwright.inference.rows import read_rows
from llmwright.inference.writing.sampling import Settings
from llmwright.tasks.task import Example

# Batches between two writes: what a kill may cost.
SAVED_BATCHES = 4
COLUMNS = ("answer", "score", "note")
# Notes of rows that have an answer; any other note is a reason why a row has none.
TRUNCATED, LENGTH = "truncated", "length"


@dataclass
class Tally:
    """The answers in the file.

    Attributes:
        count: Rows that were done, with an answer or without.
        failed: Those without.
        first_failure: 1-based ``row`` of the first of them, and the ``reason``.
    """

    count: int = 0
    failed: int = 0
    first_failure: dict[str, Any] | None = None

    def add(self, *errors: str | None) -> None:
        """Count rows; an error says why one has no answer."""
        for error in errors:
            self.count += 1
            if error is not None:
                self.failed += 1
                self.first_failure = self.first_failure or {"row": self.count, "reason": error}


def predict_file(
    predictor: Predictor,
    source: Path,
    out: Path,
    *,
    batch_size: int = BATCH_SIZE,
    reading: PrepareConfig | None = None,
    consumers: Sequence[Emit] = (),
    **generation: Any,
) -> dict[str, Any]:
    """Answer the rows of a file in their order; an output file that is there is continued.

    Args:
        predictor: Answers.
        source: Any file that `prepare` reads.
        out: ``.jsonl`` or ``.csv``; its whole records count as the first answers.
        batch_size: Rows that go through the model together.
        reading: How the source is read, as in `read_rows`.
        consumers: Receive the progress.
        **generation: As in `Predictor.predict`.

    Returns:
        ``count`` of the rows in the output file, ``skipped`` of those that were there already,
        ``failed`` of those without an answer, and ``first_failure``: ``row`` and ``reason`` of the
        first of these.

    Raises:
        InputError: No such source (``INFER-021``), its first record lacks an input (``TASK-003``),
            or the output file holds something else (``INFER-017``), answers of other rows
            (``INFER-018``) or of another model or other settings (``INFER-026``).
        ConfigError: The output's name has another ending (``INFER-022``).
        ResourceError: The output file cannot be written.
    """
    form = _form_of(out)
    settings = predictor.settings(**generation)
    form.prepare(read_rows(source, predictor, reading))
    items = _checked(read_rows(source, predictor, reading), predictor)
    tally, whole_bytes = _read_back(out, items, form)
    skipped = tally.count
    with files.disk_errors(out):
        _begin(out, whole_bytes if skipped else 0, predictor.origin(settings))
        with out.open("ab") as file:
            for part in iter(lambda: list(islice(items, batch_size * SAVED_BATCHES)), []):
                answers = _answers(part, predictor, tally.count, batch_size, settings)
                file.writelines(form.lines(part, answers, is_first=tally.count == 0))
                file.flush()
                tally.add(*(answer.get("error") for answer in answers))
                _tell(consumers, tally.count)
    return {**asdict(tally), "skipped": skipped}


def _checked(
    items: Iterator[Record | Rejection], predictor: Predictor
) -> Iterator[Record | Rejection]:
    """Return all items, the first record looked at: without the model's columns no row has any."""
    head: list[Record | Rejection] = []
    for item in items:
        head.append(item)
        if isinstance(item, Record):
            predictor.check_names(item.values)
            break
    return chain(head, items)


def _begin(out: Path, num_bytes: int, origin: dict[str, Any]) -> None:
    """Cut off what a kill left half, and see to it that the answers there are of this origin.

    Raises:
        InputError: They are not (``INFER-026``).
    """
    beside = out.with_name(f"{out.name}.origin.json")
    if num_bytes:
        differences = _differences(beside, origin)
        if differences:
            raise InputError("INFER-026", path=out, differences=differences)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(beside, origin)
    if out.is_file():
        with out.open("r+b") as file:
            file.truncate(num_bytes)


def _differences(beside: Path, origin: dict[str, Any]) -> str:
    try:
        recorded = dict(files.read_json(beside))
    except (FileNotFoundError, ValueError, TypeError):
        recorded = {}
    # Through JSON, as what was recorded.
    asked = json.loads(files.to_json(origin))
    return ", ".join(
        f"{name} {recorded.get(name, '?')} → {value}"
        for name, value in asked.items()
        if name not in recorded or recorded[name] != value
    )


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

    def kept(self, record: bytes) -> tuple[Row, str | None]:
        """Return the row of a record that was written before, and why it has no answer.

        The header, which is the first one, gives the names.

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
            return {}, None
        own, note = cells[: -len(COLUMNS)], cells[-1]
        is_reason = not set(note.split()) <= {TRUNCATED, LENGTH}
        return dict(zip(self._header, own, strict=False)), note if is_reason else None

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


# What an answer is called, by task; the first that is there is what a table shows.
ANSWERS = ("text", "label", "labels", "value", "score", "tags")


def _answer_cells(answer: dict[str, Any]) -> list[str]:
    """Return the answer, its score and what is unusual about it as cells."""
    if "error" in answer:
        return ["", "", answer["error"]]
    name = next(key for key in ANSWERS if key in answer)
    scores = answer.get("scores", {})
    score = _cell(scores[answer["label"]]) if name == "label" else ""
    notes = [TRUNCATED] if answer.get("truncated") else []
    notes += [LENGTH] if answer.get("finish_reason") == "length" else []
    # A text was cut into words here: tags alone would belong to nothing the row shows.
    tagged = name == "tags"
    value = list(zip(answer["tokens"], answer[name], strict=True)) if tagged else answer[name]
    return [_cell(value), score, " ".join(notes)]


def _csv_line(cells: Sequence[str]) -> bytes:
    line = io.StringIO(newline="")
    # A carriage return alone ends a line too, which the writer does not heed.
    if any("\r" in cell for cell in cells):
        csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    else:
        csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def _read_back(
    out: Path, items: Iterator[Record | Rejection], form: AnswerForm
) -> tuple[Tally, int]:
    """Take as many rows as the file has answers; return these and the bytes they fill."""
    tally, whole_bytes = Tally(), 0
    if not out.is_file():
        return tally, 0
    for record in _whole_records(out, isinstance(form, CsvForm)):
        try:
            kept, error = form.kept(record)
        except (ValueError, KeyError, AttributeError, csv.Error) as reason:
            raise InputError("INFER-017", path=out, record=tally.count + 1) from reason
        is_header = isinstance(form, CsvForm) and whole_bytes == 0
        whole_bytes += len(record)
        if is_header:
            continue
        item = next(items, None)
        tally.add(error)
        if item is None or not form.same(kept, item):
            raise InputError("INFER-018", path=out, record=tally.count)
    return tally, whole_bytes


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
