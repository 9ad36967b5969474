"""What must be quick to import loads nothing heavy, proven in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "llmwright"
HEAVY = ("torch", "transformers", "ray", "fastapi", "polars", "onnxruntime", "sklearn")
LIGHT = [
    "llmwright",
    "llmwright.api",
    "llmwright.operations",
    "llmwright.cli.main",
    *(f"llmwright.core.{p.stem}" for p in (SOURCE / "core").glob("[a-z]*.py")),
    *(f"llmwright.{p.parent.name}.config" for p in SOURCE.glob("*/config.py")),
]


def test_light_modules_load_nothing_heavy() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {LIGHT!r}:\n"
        "    importlib.import_module(name)\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys\n"
        "from llmwright.cli.main import invoke\n"
        f"code = invoke({command!r})\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
