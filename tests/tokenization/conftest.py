from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmwright.core import files
from llmwright.core.artifacts import Artifact, Store
from llmwright.core.events import Event
from llmwright.core.runs import Run
from llmwright.data.records import INFO_FILE, DatasetInfo

MakeDataset = Callable[..., Artifact]

SENTENCES = [
    "今天天气很好，我们去公园玩吧！",
    "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。",
    "Hello world, don't stop.  Two  spaces\tand a tab.",
    "The quick brown fox; it's 3.14 o'clock, isn't it?",
    "naïve café — déjà vu 😀 👩‍👩‍👧 🏳️‍🌈",
    "北京大学的学生爱学习 NLP。",
]


@pytest.fixture
def sentences() -> list[str]:
    return list(SENTENCES)


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Return a function that writes a dataset artifact with these rows."""
    store = Store(tmp_path / ".llmwright")

    def make(task: str, row_type: str, **splits: list[dict[str, Any]]) -> Artifact:
        counts = {name: len(rows) for name, rows in splits.items()}
        info = DatasetInfo(task=task, row_type=row_type, shape=row_type, fields={}, counts=counts)
        with store.draft("dataset") as draft:
            for name, rows in splits.items():
                pl.DataFrame(rows).write_parquet(draft.path / f"{name}.parquet")
            files.write_json(draft.path / INFO_FILE, info.model_dump())
        assert draft.artifact is not None
        return draft.artifact

    return make


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def run(tmp_path: Path, events: list[Event]) -> Run:
    folder = tmp_path / "run"
    folder.mkdir()
    return Run("test", folder, tmp_path, Store(tmp_path / ".llmwright"), [events.append])
