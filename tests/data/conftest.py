"""A project folder in which `prepare` runs for real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.config import parse
from llmwright.core.events import Event, Notice
from llmwright.core.runs import Run
from llmwright.data.config import PrepareConfig
from llmwright.data.prepare import prepare
from llmwright.data.records import Dataset


@dataclass
class Workbench:
    """Writes files, prepares them, keeps what was said."""

    root: Path
    events: list[Event] = field(default_factory=list)

    def write(self, name: str, content: bytes | str) -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def artifact(self, source: Any, **settings: Any) -> Artifact:
        folder = self.root / ".run"
        folder.mkdir(exist_ok=True)
        self.events = []
        run = Run("r1", folder, self.root, Store(self.root / ".llmwright"), [self.events.append])
        return prepare(parse(PrepareConfig, {"source": source, **settings}), {}, run)

    def dataset(self, source: Any, **settings: Any) -> Dataset:
        return Dataset.open(self.artifact(source, **settings).path)

    def said(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Notice))


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


@pytest.fixture
def real(llmwright_data: Path, tmp_path: Path) -> Callable[..., Dataset]:
    """Prepare a source from the public data; `real.bench` has what was said."""
    bench = Workbench(tmp_path)

    def run(source: Any, **settings: Any) -> Dataset:
        if isinstance(source, dict):
            located: Any = {key: str(llmwright_data / value) for key, value in source.items()}
        else:
            located = str(llmwright_data / source)
        return bench.dataset(located, **settings)

    run.bench = bench  # type: ignore[attr-defined]
    return run
