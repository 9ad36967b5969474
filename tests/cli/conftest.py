from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmwright.cli.main import invoke


class Said(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        return str(self.json["error"]["code"])


Call = Callable[..., Said]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one torch-free step; the current folder."""
    words = ("warm", "bright", "dry", "wet", "grey", "dripping")
    rows = [f"{a} {b} day,{'sun' if a in words[:3] else 'rain'}" for a in words for b in words]
    (tmp_path / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "llmwright.yaml").write_text(
        "name: tiny\ntask: text-classification\nprepare:\n  source: data.csv\n"
        "  split: {validation: 0.2, test: 0.2, seed: 1}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def llmwright(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in this process."""

    def call(*words: str) -> Said:
        capsys.readouterr()
        code = invoke(list(words))
        return Said(code, *capsys.readouterr())

    return call
