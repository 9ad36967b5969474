"""Answering a file of rows: as it goes, with progress, and from where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.inference.predictor import BATCH_SIZE, Predictor

# Progress, and what a kill may cost, in batches.
SAVED_BATCHES = 4


@dataclass(frozen=True)
class Done:
    """What came of a file.

    Attributes:
        count: Answers in the output file.
        skipped: Those of them that were there before.
    """

    count: int
    skipped: int


def row_of(value: Row | str, predictor: Predictor) -> Row:
    """Return a bare text as the row that a model's task reads; rows stay as they are."""
    if not isinstance(value, str):
        return value
    contract = predictor.contract
    if contract is None or contract.row_type in ("text", "messages"):
        return {"prompt": value}
    return {"input" if contract.row_type == "pair" else "text": value}


def predict_file(
    predictor: Predictor,
    rows: Iterable[Row],
    out: Path,
    *,
    batch_size: int = BATCH_SIZE,
    on_progress: Callable[[int], None] = lambda count: None,
    **generation: Any,
) -> Done:
    """Answer rows one after another into a JSON-lines file: the row with ``answer`` added.

    A file that is there already is continued: its whole lines count as the first answers.

    Args:
        predictor: Answers.
        rows: The rows, in the same order each time.
        out: The file to write or continue.
        batch_size: Rows that go through the model together.
        on_progress: Is told how many answers the file has.
        **generation: As in `Predictor.predict`.

    Raises:
        InputError: The file holds something else (``INFER-017``), or answers of other rows
            (``INFER-018``).
        ResourceError: The file cannot be written.
    """
    source = iter(rows)
    skipped = _continue(out, source)
    count = skipped
    with files.disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            while part := list(islice(source, batch_size * SAVED_BATCHES)):
                answers = predictor.predict(part, batch_size, **generation)
                for line in _lines(part, answers):
                    file.write(line)
                file.flush()
                count += len(part)
                on_progress(count)
    return Done(count, skipped)


def _lines(rows: list[Row], answers: Iterator[dict[str, Any]]) -> Iterator[str]:
    for row, answer in zip(rows, answers, strict=True):
        yield json.dumps({**row, "answer": answer}, ensure_ascii=False, default=str) + "\n"


def _continue(out: Path, rows: Iterator[Row]) -> int:
    """Take as many rows as the file has answers, and cut off a line that a kill left half."""
    if not out.is_file():
        return 0
    count = whole_bytes = 0
    with out.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            _check_same(line, next(rows, None), out, count + 1)
            whole_bytes += len(line)
            count += 1
    if whole_bytes < out.stat().st_size:
        with out.open("r+b") as file:
            file.truncate(whole_bytes)
    return count


def _check_same(line: bytes, row: Row | None, out: Path, number: int) -> None:
    try:
        kept = json.loads(line)
        del kept["answer"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("INFER-017", path=out, line=number) from error
    # Through JSON, as the line went: a tuple comes back as a list.
    if row is None or json.loads(json.dumps(row, default=str)) != kept:
        raise InputError("INFER-018", path=out, line=number)
