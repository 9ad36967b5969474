from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from help_desk import PLUGINS, Command, command_in, copied  # noqa: E402

from llmwright.core import plugins, registry  # noqa: E402
from llmwright.core.project import Project  # noqa: E402


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return copied(tmp_path / "help-desk")


@pytest.fixture
def llmwright(example: Path, tmp_path: Path) -> Command:
    return command_in(example, tmp_path / "consent")


@pytest.fixture
def loaded(example: Path) -> Iterator[Project]:
    """The example with its plugins loaded into this process, and taken out again afterwards."""
    before = {k: (dict(r._entries), dict(r._origins)) for k, r in registry.registries().items()}
    modules = set(sys.modules)
    for name in PLUGINS:
        plugins.trust(example / "plugins" / name)
    project = Project(example)
    plugins.load_project_plugins(project)
    yield project
    for name in set(sys.modules) - modules:
        if name.startswith("llmwright_project_"):
            del sys.modules[name]
    for kind, (entries, origins) in before.items():
        found = registry.registries()[kind]
        found._entries, found._origins = entries, origins
    registry._WAITING.clear()
