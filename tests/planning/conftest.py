"""Projects small enough to be planned in a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def project(tmp_path: Path) -> Any:
    """Return a function that writes a project: rows, and settings of its train step."""

    def made(rows: list[dict[str, Any]], task: str, **train: Any) -> Path:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
        model = {"kind": "scratch", "hidden_size": 16, "num_layers": 1, "num_heads": 2}
        runtime = {"kind": "single", "num_threads": 1, "device": "cpu"}
        body = {
            "task": task,
            "prepare": {"source": "rows.jsonl"},
            "tokenize": {"kind": "char"},
            "train": {"model": model, "runtime": runtime, "probes": {"count": 4}, **train},
        }
        (tmp_path / "llmwright.yaml").write_text(json.dumps(body), encoding="utf-8")
        return tmp_path

    return made
