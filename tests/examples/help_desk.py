from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugins"
PLUGINS = ("bag_of_embeddings.py", "outages_found.py", "ticket_numbers.py")

Command = Callable[..., subprocess.CompletedProcess[str]]


def copied(folder: Path) -> Path:
    """Return a copy of the example project."""
    ignored = shutil.ignore_patterns(".llmwright", "__pycache__")
    return Path(shutil.copytree(EXAMPLE, folder, ignore=ignored))


def command_in(root: Path, home: Path) -> Command:
    """Return a function that runs ``llmwright`` in a folder, in a process of its own."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llmwright.cli", *words],
            cwd=root,
            env={**os.environ, "LLMWRIGHT_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def body(done: subprocess.CompletedProcess[str]) -> Any:
    """Return what a command with ``--json`` said."""
    assert done.stdout, done.stderr
    return json.loads(done.stdout)
