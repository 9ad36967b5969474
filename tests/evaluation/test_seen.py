"""Rows that a model learned from are counted, through every model it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from llmwright.core import files
from llmwright.core.artifacts import Artifact, Store
from llmwright.data.records import DatasetInfo
from llmwright.evaluation.seen import count_seen


def save(
    store: Store, kind: str, rows: list[dict[str, Any]] | None = None, **inputs: str
) -> Artifact:
    with store.draft(kind) as draft:
        if rows is not None:
            pl.DataFrame(rows).write_parquet(draft.path / "train.parquet")
            info = DatasetInfo(
                task="text-classification",
                row_type="classification",
                shape="classification",
                fields={},
                counts={"train": len(rows)},
            )
            files.write_json(draft.path / "dataset.json", info.model_dump())
        (draft.path / "name").write_text(f"{kind} {inputs} {rows}", encoding="utf-8")
        draft.origin["inputs"] = inputs
    assert draft.artifact is not None
    return draft.artifact


def test_learned_rows_are_found_behind_exports_and_base_models(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = save(
        store, "dataset", [{"text": "Red  sun", "label": "a"}, {"text": "x", "label": "b"}]
    )
    second = save(store, "dataset", [{"text": "blue sea", "label": "a"}])
    base = save(store, "model", dataset=first.id)
    tuned = save(store, "model", dataset=second.id, model=base.id)
    exported = save(store, "export", model=tuned.id)
    measured = [{"text": t} for t in ("red sun", "Blue sea", "new", "red sun")]
    other = save(store, "dataset", [{"text": "new", "label": "a"}])
    assert count_seen(measured, other, exported, store) == 3
    assert count_seen(measured, other, base, store) == 2
    # Its own splits are kept apart when they are made.
    assert count_seen(measured, second, tuned, store) == 2
    store.remove(store.find(first.id))
    assert count_seen(measured, other, exported, store) == 1
