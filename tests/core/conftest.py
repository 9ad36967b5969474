from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from llmwright.core import registry  # noqa: E402
from llmwright.core.project import Project  # noqa: E402


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """English, no consent from this machine's user, and every registry as it was afterwards."""
    monkeypatch.setenv("LLMWRIGHT_LANG", "en")
    monkeypatch.setenv("LLMWRIGHT_HOME", str(tmp_path / "home"))
    from tiny_table import OWN

    registry._REGISTRIES.update(OWN)
    before = {k: (dict(r._entries), dict(r._origins)) for k, r in registry.registries().items()}
    yield
    for kind, found in registry.registries().items():
        if kind in before:
            found._entries, found._origins = before[kind]
        if kind not in before or kind in OWN:
            del registry._REGISTRIES[kind]
    registry._WAITING.clear()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of two steps that nothing has run yet."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "poem.txt").write_text("one\ntwo\n", encoding="utf-8")
    (root / "llmwright.yaml").write_text("gather: {source: poem.txt}\nshape:\n", encoding="utf-8")
    from tiny_table import load

    return load(root)


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code in a process of its own that knows the tiny table."""

    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(code: str, *args: object, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, args)],
            env={**os.environ, "PYTHONPATH": path, **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run
