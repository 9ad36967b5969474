"""Answering a file of rows: as it goes, with progress, and from where it stopped.

A row that cannot be answered costs only itself, unless the user wants it otherwise. Who answered,
and how, lies beside the output (``answers.csv.origin.json``): only the same model with the same
settings goes on, or finds that nothing is left to do.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from llmwright.core import files
from llmwright.core.errors import InputError, closest
from llmwright.core.events import Emit, Progress
from llmwright.data.config import PrepareConfig
from llmwright.data.readers.record import Record, Rejection
from llmwright.data.records import Row
from llmwright.inference.forms import Form, JsonForm, form_of, whole_records
from llmwright.inference.predictor import BATCH_SIZE, Predictor
from llmwright.inference.rows import read_rows
from llmwright.inference.writing.sampling import Settings
from llmwright.tasks.task import Example

Item = Record | Rejection

# Batches between two writes: what a kill may cost.
SAVED_BATCHES = 4
# Rows between two notices while they are counted.
COUNTED_ROWS = 50_000


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


@dataclass(frozen=True)
class Asking:
    """How rows are answered.

    Attributes:
        predictor: Answers.
        settings: How texts are written.
        columns: The model's field → the file's column, where the names differ.
        batch_size: Rows that go through the model together.
        strict: Whether the first row without an answer ends the work.
    """

    predictor: Predictor
    settings: Settings
    columns: Mapping[str, str]
    batch_size: int
    strict: bool

    def origin(self) -> dict[str, Any]:
        """Return what decides the answers."""
        own = {"columns": dict(self.columns)} if self.columns else {}
        return {**self.predictor.origin(self.settings), **own}

    def named(self, values: Row) -> Row:
        """Return a row of the file under the model's names.

        Raises:
            InputError: A column that was named is not there (``INFER-064``).
        """
        if not self.columns:
            return values
        missing = next((name for name in self.columns.values() if name not in values), None)
        if missing is not None:
            hint, found = closest(missing, values), ", ".join(map(str, values))
            raise InputError("INFER-064", name=missing, hint=hint, found=found)
        taken = set(self.columns.values())
        kept = {name: value for name, value in values.items() if name not in taken}
        return {**kept, **{field: values[name] for field, name in self.columns.items()}}

    def answers(self, part: Sequence[Item], first: int) -> list[dict[str, Any]]:
        """Return an answer, or an ``error``, for each item; ``first`` is the first one's place."""
        predictor = self.predictor
        answers: dict[int, dict[str, Any]] = {}
        rows: dict[int, Row] = {}
        examples: list[Example] = []
        for place, item in enumerate(part, start=first):
            if isinstance(item, Rejection):
                answers[place] = {"error": f"{item.reason}: {item.detail}"}
                continue
            try:
                row = predictor.read(self.named(item.values))
                examples.append(predictor.encode(row))
                rows[place] = row
            except InputError as error:
                answers[place] = {"error": str(error)}
        canonical, places = list(rows.values()), list(rows)
        found = predictor.answer(canonical, examples, places, self.batch_size, self.settings)
        answers |= {place: one.answer for place, one in zip(places, found, strict=True)}
        return [answers[place] for place in range(first, first + len(part))]


def predict_file(
    predictor: Predictor,
    source: Path,
    out: Path | BinaryIO,
    *,
    batch_size: int = BATCH_SIZE,
    reading: PrepareConfig | None = None,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
    consumers: Sequence[Emit] = (),
    **generation: Any,
) -> dict[str, Any]:
    """Answer the rows of a file in their order; an output file that is there is continued.

    Memory does not grow with the file (a ``.json`` file, which is one value, excepted).

    Args:
        predictor: Answers.
        source: Any file that `prepare` reads.
        out: ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet``; its whole records count as the first
            answers. Or a stream, which gets JSON lines.
        batch_size: Rows that go through the model together.
        reading: How the source is read, as in `read_rows`.
        columns: The model's field → the file's column, where the names differ.
        strict: End at the first row that cannot be answered; the answers before it are kept.
        consumers: Receive the progress.
        **generation: As in `Predictor.predict`.

    Returns:
        ``count`` of the rows in the output, ``skipped`` of those that were there already,
        ``failed`` of those without an answer, and ``first_failure``: ``row`` and ``reason`` of the
        first of these.

    Raises:
        InputError: No such source (``INFER-021``), its first record lacks an input (``TASK-003``,
            ``INFER-064``), or the output file holds something else (``INFER-017``), answers of
            other rows (``INFER-018``) or of another model or other settings (``INFER-026``); a row
            without an answer where ``strict`` (``INFER-063``).
        ConfigError: The output's name has another ending (``INFER-022``).
        ResourceError: The output file cannot be written.
    """
    columns = columns or {}
    asking = Asking(predictor, predictor.settings(**generation), columns, batch_size, strict)
    form = form_of(out) if isinstance(out, Path) else JsonForm()
    total = form.prepare(
        _counted(read_rows(source, predictor, reading, columns), asking, consumers)
    )
    items = read_rows(source, predictor, reading, columns)
    pace = Pace(total, consumers)
    if not isinstance(out, Path):
        tally = Tally()
        _work(items, asking, form, tally, out, pace)
        return {**asdict(tally), "skipped": 0}
    journal = form.journal(out)
    if journal != out and out.is_file() and not journal.is_file():
        return _finished(out, asking, source, total)
    own = {} if journal == out else {"source": files.sha256_file(source)}
    return _continued(out, items, asking, form, pace, {**asking.origin(), **own})


def _continued(
    out: Path, items: Iterator[Item], asking: Asking, form: Form, pace: Pace, origin: dict[str, Any]
) -> dict[str, Any]:
    """Answer the rows behind those that the output holds already."""
    journal = form.journal(out)
    tally, whole_bytes = _read_back(journal, items, form)
    skipped = tally.count
    pace.begin(skipped)
    with files.disk_errors(out):
        _begin(out, journal, whole_bytes if skipped else 0, origin)
        with journal.open("ab") as file:
            _work(items, asking, form, tally, file, pace)
        form.finish(out)
    return {**asdict(tally), "skipped": skipped}


class Pace:
    """Tells how far the work is.

    Args:
        total: Rows of the file.
        consumers: Are told.
    """

    def __init__(self, total: int, consumers: Sequence[Emit]) -> None:
        self._total, self._consumers = total, consumers
        self._first, self._started = 0, time.monotonic()

    def begin(self, first: int) -> None:
        """Count rows from here on: those before were there already."""
        self._first, self._started = first, time.monotonic()

    def tell(self, count: int) -> None:
        """Say that so many rows are done."""
        passed = max(time.monotonic() - self._started, 1e-9)
        values = {"rows_per_second": (count - self._first) / passed}
        for consumer in self._consumers:
            consumer(Progress("predict", count, self._total, "rows", values))


def _work(
    items: Iterator[Item], asking: Asking, form: Form, tally: Tally, file: BinaryIO, pace: Pace
) -> None:
    """Answer what is left.

    Raises:
        InputError: A row has no answer and ``strict`` is set (``INFER-063``).
    """
    for part in iter(lambda: list(islice(items, asking.batch_size * SAVED_BATCHES)), []):
        answers = asking.answers(part, tally.count)
        bad = next((i for i, answer in enumerate(answers) if "error" in answer), None)
        good = len(part) if bad is None or not asking.strict else bad
        file.writelines(form.lines(part[:good], answers[:good], is_first=tally.count == 0))
        file.flush()
        tally.add(*(answer.get("error") for answer in answers[:good]))
        pace.tell(tally.count)
        if good < len(part):
            raise InputError("INFER-063", row=tally.count + 1, reason=answers[good]["error"])


def _counted(items: Iterator[Item], asking: Asking, consumers: Sequence[Emit]) -> Iterator[Item]:
    """Yield all items; the first record is looked at: without the model's columns no row has any.

    Raises:
        InputError: It lacks an input (``TASK-003``, ``INFER-064``).
    """
    known = False
    for count, item in enumerate(items, start=1):
        if isinstance(item, Record) and not known:
            asking.predictor.check_names(asking.named(item.values))
            known = True
        if count % COUNTED_ROWS == 0:
            for consumer in consumers:
                consumer(Progress("count", count, None, "rows"))
        yield item


def _origin_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.origin.json")


def _begin(out: Path, journal: Path, num_bytes: int, origin: dict[str, Any]) -> None:
    """Cut off what a kill left half, and see to it that the answers there are of this origin.

    Raises:
        InputError: They are not (``INFER-026``).
    """
    if num_bytes:
        _refuse_others(out, origin)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(_origin_file(out), origin)
    if journal.is_file():
        with journal.open("r+b") as file:
            file.truncate(num_bytes)


def _finished(out: Path, asking: Asking, source: Path, total: int) -> dict[str, Any]:
    """Return what a complete output holds that cannot be read back row by row.

    Raises:
        InputError: It answers other rows, or another model did (``INFER-026``).
    """
    _refuse_others(out, {**asking.origin(), "source": files.sha256_file(source)})
    return {**asdict(Tally(total)), "skipped": total}


def _refuse_others(out: Path, origin: dict[str, Any]) -> None:
    differences = _differences(_origin_file(out), origin)
    if differences:
        raise InputError("INFER-026", path=out, differences=differences)


def _differences(beside: Path, origin: dict[str, Any]) -> str:
    try:
        recorded = dict(files.read_json(beside))
    except (FileNotFoundError, ValueError, TypeError):
        recorded = {}
    # Through JSON, as what was recorded.
    asked = json.loads(files.to_json(origin))
    return ", ".join(
        f"{name} {recorded.get(name, '?')} → {asked.get(name, '?')}"
        for name in {**asked, **recorded}
        if name not in recorded or name not in asked or recorded[name] != asked[name]
    )


def _read_back(out: Path, items: Iterator[Item], form: Form) -> tuple[Tally, int]:
    """Take as many rows as the file has answers; return these and the bytes they fill."""
    tally, whole_bytes = Tally(), 0
    if not out.is_file():
        return tally, 0
    for record in whole_records(out, form.is_table):
        try:
            kept, error = form.kept(record)
        except (ValueError, KeyError, AttributeError, csv.Error) as reason:
            raise InputError("INFER-017", path=out, record=tally.count + 1) from reason
        is_header = form.is_table and whole_bytes == 0
        whole_bytes += len(record)
        if is_header:
            continue
        item = next(items, None)
        tally.add(error)
        if item is None or not form.same(kept, item):
            raise InputError("INFER-018", path=out, record=tally.count)
    return tally, whole_bytes
