"""Tiny real datasets, tokenizers and runs for tests of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from llmwright.core import files
from llmwright.core.artifacts import Artifact, Store
from llmwright.core.events import Event
from llmwright.core.runs import Run
from llmwright.data.records import DatasetInfo
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import CHAT_ROLES, CHATML, Framing
from llmwright.training.config import TrainConfig
from llmwright.training.train import train


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Workbench:
    """One project folder in which tiny things are made and trained."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / ".llmwright")
        self.events: list[Event] = []

    def dataset(self, task: str, row_type: str, **splits: list[dict[str, Any]]) -> Artifact:
        labels: set[str] = set()
        for row in splits.get("train", []):
            labels.update(row.get("labels") or row.get("tags") or [])
            labels.update([row["label"]] if row.get("label") else [])
        styles: dict[str, set[str]] = {}
        for row in splits.get("train", []):
            for name, value in row.get("controls", {}).items():
                styles.setdefault(name, set()).update([value] if value else [])
        info = DatasetInfo(
            task=task,
            row_type=row_type,
            shape=row_type,
            fields={},
            labels=sorted(labels),
            controls={name: sorted(values) for name, values in styles.items()},
            multi_label=any("labels" in row for rows in splits.values() for row in rows),
            counts={name: len(rows) for name, rows in splits.items()},
        )
        with self.store.draft("dataset") as draft:
            for name, rows in splits.items():
                placed = [
                    {**row, "source": f"{name}.csv", "row": i + 1} for i, row in enumerate(rows)
                ]
                pl.DataFrame(placed).write_parquet(draft.path / f"{name}.parquet")
            files.write_json(draft.path / "dataset.json", info.model_dump())
        return draft.artifact

    def tokenizer(self, texts: list[str], frame: str = "none", kind: str = "char") -> Artifact:
        chat = kind == "char" and frame == "none"
        made = TOKENIZERS.get(kind)(
            TokenizeConfig(kind=kind),
            texts + (list(CHAT_ROLES) if chat else []),
            Framing(frame=frame, chat_template=CHATML if chat else None),
        )
        with self.store.draft("tokenizer") as draft:
            made.save_pretrained(draft.path)
        return draft.artifact

    def run(self, name: str = "run") -> Run:
        folder = self.root / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        return Run(name, folder, self.root, self.store, [self.events.append])

    def train(
        self, values: dict[str, Any], dataset: Artifact, tokenizer: Artifact, name: str = "run"
    ) -> Artifact:
        config = TrainConfig.model_validate(
            {"runtime": {"kind": "single", "num_threads": 1, "device": "cpu"}, **values}
        )
        return train(config, {"dataset": dataset, "tokenizer": tokenizer}, self.run(name))


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


TINY = {"kind": "scratch", "hidden_size": 16, "num_layers": 1, "num_heads": 2}


@pytest.fixture
def tiny() -> Callable[..., dict[str, Any]]:
    """Return the spec of a very small model of an architecture."""
    return lambda architecture="decoder", **more: {**TINY, "architecture": architecture, **more}
