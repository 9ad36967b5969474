"""Cross-validation: the training rows in folds, each a dataset of its own.

Rows that ask the same question or have the same group lie in one fold, labels are spread evenly,
and what was split in order is cut in order: as `data.split` does it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from llmwright.core import files
from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import InputError
from llmwright.core.locale import text
from llmwright.data.content import KEY_COLUMNS
from llmwright.data.records import INFO_FILE, Dataset
from llmwright.data.split import (
    Component,
    Ledger,
    Say,
    find_components,
    names_of,
    strata_of,
)

LABEL_COLUMNS = ("label", "labels", "tags")
# A fold of each row; None for one that always trains.
Folds = list[int | None]


@dataclass(frozen=True)
class _Plan:
    """How the rows are shared out.

    Attributes:
        folds: The fold of each row.
        method: ``stratified``, ``sequential`` or ``random``.
    """

    folds: Folds
    method: str


def make_folds(
    source: Artifact, num_folds: int, seed: int, store: Store, say: Say
) -> list[Artifact]:
    """Return one dataset per fold: its rows validate, all other training rows train.

    The same rows and seed give the same folds.

    Args:
        source: A dataset; only its training split is used.
        num_folds: At least 2.
        seed: Of the shuffle.
        store: Where they go.
        say: Takes a sentence and its level.

    Raises:
        InputError: There is less to share out than there are folds (``TUNE-010``).
    """
    dataset = Dataset.open(source.path)
    frame = dataset.frame("train")
    if dataset.info.row_type == "text" and frame.height == 1:
        frame = _in_pieces(frame, num_folds)
        plan = _Plan(list(range(frame.height)), "sequential")
        if frame.height < num_folds:
            raise InputError("TUNE-010", folds=num_folds, found=frame.height)
    else:
        plan = _share_out(dataset, num_folds, seed, say)
    return [_write(dataset, frame, plan, fold, num_folds, seed, store) for fold in range(num_folds)]


def _in_pieces(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return the only text cut by characters into rows of about the same length."""
    (whole,) = frame["text"].to_list()
    bounds = [len(whole) * i // count for i in range(count + 1)]
    pieces = [whole[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True) if b > a]
    rows = pl.concat([frame] * len(pieces))
    return rows.with_columns(pl.Series("text", pieces))


def _share_out(dataset: Dataset, num_folds: int, seed: int, say: Say) -> _Plan:
    ledger = Ledger(dataset.info.row_type)
    for row in dataset.stream("train", [*KEY_COLUMNS, *LABEL_COLUMNS, "group"]):
        ledger.add(row, None)
    components = find_components(ledger, range(len(ledger.keys)))
    if len(components) < num_folds:
        raise InputError("TUNE-010", folds=num_folds, found=len(components))
    method = str(dataset.info.split.get("method"))
    if method not in ("stratified", "sequential", "random"):
        method = "stratified" if ledger.row_type == "classification" else "random"
    folds: Folds = [None] * len(ledger.keys)
    if method == "sequential":
        _cut(components, num_folds, folds)
    else:
        _deal(ledger, components, method, num_folds, seed, folds, say)
    return _Plan(folds, method)


def _cut(components: Sequence[Component], num_folds: int, folds: Folds) -> None:
    """Give each fold a stretch of rows in their order, and at least one component."""
    num_rows = sum(map(len, components))
    fold, done = 0, 0
    for number, component in enumerate(components):
        for index in component:
            folds[index] = fold
        done += len(component)
        left = len(components) - number - 1
        full = done >= num_rows * (fold + 1) / num_folds or left < num_folds - fold
        fold = min(num_folds - 1, fold + 1) if full else fold


def _deal(
    ledger: Ledger,
    components: Sequence[Component],
    method: str,
    num_folds: int,
    seed: int,
    folds: Folds,
    say: Say,
) -> None:
    """Deal shuffled components, those of each label by themselves, to the fold that has fewest."""
    strata = {"": list(components)}
    if method == "stratified":
        strata, _ = strata_of(ledger, components)
    total = [0] * num_folds
    alone = []
    for label, members in strata.items():
        if method == "stratified" and len(members) < 2:
            # Held out, nothing would be left to learn its label from.
            alone.append(label)
            continue
        waiting = list(members)
        random.Random(f"fold:{seed}:{label}").shuffle(waiting)
        # Large ones first, so that the small ones can even out what they leave.
        waiting.sort(key=len, reverse=True)
        count = [0] * num_folds
        for component in waiting:
            fold = min(range(num_folds), key=lambda k: (count[k], total[k], k))
            count[fold] += len(component)
            total[fold] += len(component)
            for index in component:
                folds[index] = fold
    if alone:
        say(text("tuning.always_trains", labels=names_of(alone)), "warning")
    if not all(total):
        raise InputError("TUNE-010", folds=num_folds, found=sum(map(bool, total)))


def _write(
    dataset: Dataset,
    frame: pl.DataFrame,
    plan: _Plan,
    fold: int,
    num_folds: int,
    seed: int,
    store: Store,
) -> Artifact:
    held_out = pl.Series([found == fold for found in plan.folds], dtype=pl.Boolean)
    parts = {"train": frame.filter(~held_out), "validation": frame.filter(held_out)}
    split = {"method": plan.method, "fold": fold, "num_folds": num_folds, "seed": seed}
    counts = {name: part.height for name, part in parts.items()}
    info = dataset.info.model_copy(update={"counts": counts, "split": split})
    with store.draft("dataset") as draft:
        for name, part in parts.items():
            part.write_parquet(draft.path / f"{name}.parquet")
        files.write_json(draft.path / INFO_FILE, info.model_dump(mode="json"))
        draft.metadata.update(info.model_dump(include={"task", "row_type", "counts"}))
    assert draft.artifact is not None
    return draft.artifact
