"""The tiny models of the inference tests, recorded and exported once per session."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.events import Event
from llmwright.core.runs import Run
from llmwright.export.config import ExportConfig
from llmwright.export.export import export
from llmwright.inference.proof.probes import record_probes
from llmwright.tasks.contract import Contract

_spec = importlib.util.spec_from_file_location(
    "tiny_models", Path(__file__).parents[1] / "inference" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
tiny: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)


class Bench:
    """A project that records and exports tiny models."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[Event] = []
        (root / "run").mkdir()
        store = Store(root / ".llmwright")
        self.run = Run("r", root / "run", root, store, [self.events.append])
        self._models: dict[str, Artifact] = {}
        self._exports: dict[tuple[str, str], Artifact] = {}

    def rows(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = tiny.rows_for(name)
        return found

    def model(self, name: str) -> Artifact:
        if name not in self._models:
            folder = tiny.build(name, self.root / name)
            self._models[name] = self.save(folder, name)
        return self._models[name]

    def save(self, folder: Path, name: str) -> Artifact:
        """The folder as a model with its own probes."""
        with self.run.draft("model") as draft:
            shutil.copytree(folder, draft.path, dirs_exist_ok=True)
            contract = Contract.open(draft.path)
            record_probes(draft.path, self.rows(name), contract, "validation", 8)
        assert draft.artifact is not None
        return draft.artifact

    def export(self, name: str, precision: str = "float32") -> Artifact:
        if (name, precision) not in self._exports:
            config = ExportConfig(format={"kind": "onnx", "precision": precision})
            made = export(config, {"model": self.model(name)}, self.run)
            self._exports[name, precision] = made
        return self._exports[name, precision]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    found: Callable[..., Path] = tiny.build
    return found


@pytest.fixture
def byte_bpe() -> Any:
    return tiny.make_tokenizer()
