"""A tiny project that trains in less than a second."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import llmwright
from llmwright.core.artifacts import Artifact

TRAIN = {
    "model": {
        "kind": "scratch",
        "architecture": "encoder",
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 2,
    },
    "runtime": {"kind": "single", "device": "cpu", "num_threads": 1},
    "batch_size": 8,
    "epochs": 5,
    "lr": 0.01,
    "probes": {"count": 4},
}
SPACE = {"train.lr": {"choices": [1e-5, 0.02]}}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a dataset and a tokenizer."""
    root = tmp_path_factory.mktemp("prepared")
    words = {"warm": ("red", "sun", "day"), "cold": ("blue", "snow", "night")}
    rows = [
        f"{words[label][i % 3]} {words[label][(i + 1 + i // 7) % 3]} {'abcdefgh'[i % 8]},{label}"
        for label in words
        for i in range(40)
    ]
    (root / "d.csv").write_text("\n".join(["text,label", *rows]))
    split = {"validation": 0.2, "test": 0.2}
    llmwright.prepare(source="d.csv", split=split, project=root)
    llmwright.tokenize(kind="word", project=root)
    return root


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(prepared, tmp_path / "project"))


@pytest.fixture
def write(project: Path) -> Callable[..., Path]:
    """Write the project file and return it."""

    def make(train: dict[str, Any] | None = None, **tune: Any) -> Path:
        sections = {
            "prepare": {"source": "d.csv", "split": {"validation": 0.2, "test": 0.2}},
            "tokenize": {"kind": "word"},
            "train": {**TRAIN, **(train or {})},
            "tune": {"space": SPACE, **tune},
            "evaluate": {},
        }
        file = project / "llmwright.yaml"
        file.write_text(yaml.safe_dump(sections))
        return file

    return make


@pytest.fixture
def tune(project: Path) -> Callable[..., Artifact]:
    """Search in that project; what is given of `train` is laid over its settings."""

    def make(train: dict[str, Any] | None = None, **values: Any) -> Artifact:
        given = {"space": SPACE, "project": project, **values}
        return llmwright.tune(train={**TRAIN, **(train or {})}, **given)

    return make
