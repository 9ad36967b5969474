from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tiny_project  # noqa: E402


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after an undisturbed run."""
    root = tmp_path_factory.mktemp("finished") / "tiny"
    tiny_project.write(root)
    tiny_project.run(root)
    return root
