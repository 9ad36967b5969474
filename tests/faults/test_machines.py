"""Two machines train together; here both are this one, each with a launcher of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest
from tiny_project import interrupt, start, wait_until, write

from llmwright.core.events import Notice, Progress, read_events

pytestmark = [pytest.mark.fault, pytest.mark.slow]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    write(root)
    path = root / "llmwright.yaml"
    path.write_text(path.read_text().replace("epochs: 6", "epochs: 12"), encoding="utf-8")
    for step in ("prepare", "tokenize"):
        process = start(root, "-m", "llmwright.cli", step, "--json")
        _, noise = process.communicate(timeout=120)
        assert process.returncode == 0, noise
    return root


def both(root: Path) -> list[subprocess.Popen[str]]:
    """Start the same training on both, as a user does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["kind=torchrun", "num_processes=1", "device=cpu", "num_threads=1", "num_nodes=2"]
    settings += ["master_address=127.0.0.1", f"master_port={port}"]
    told = [f"runtime.{setting}" for setting in settings]
    command = ("-m", "llmwright.cli", "train", "--json", *told)
    return [start(root, *command, f"runtime.node_rank={number}") for number in range(2)]


def runs(root: Path) -> list[Path]:
    return sorted((root / ".llmwright" / "runs").glob("*-train-*"))


def steps(root: Path) -> list[float]:
    """Return the steps that machine 0 reported."""
    found = [event for run in runs(root) for _, event in read_events(run / "events.jsonl")]
    return [e.done for e in found if isinstance(e, Progress) and e.stage == "train"]


def ended(processes: list[subprocess.Popen[str]]) -> list[dict]:
    said = [process.communicate(timeout=200) for process in processes]
    assert all(words for words, _ in said), said
    return [json.loads(words) for words, _ in said]


def test_two_machines_make_one_model_and_stop_and_fail_together(project: Path) -> None:
    first, second = both(project)
    wait_until(first, lambda: bool(steps(project)))
    interrupt(first, signal.SIGTERM)
    assert [each["error"]["code"] for each in ended([first, second])] == ["CORE-060"] * 2

    reached = max(steps(project))
    first, second = both(project)
    wait_until(first, lambda: max(steps(project)) > reached)
    for rank in psutil.Process(first.pid).children():
        rank.kill()
    assert [each["error"]["code"] for each in ended([first, second])] == ["TRAIN-123", "TRAIN-190"]

    made = ended(both(project))
    models = [each["steps"][0]["artifact"]["id"] for each in made]
    assert models[0] == models[1]
    # Each went on in its own run; one of them kept the checkpoints.
    assert len(runs(project)) == 2
    said = [e.text for run in runs(project) for _, e in read_events(run / "events.jsonl")
            if isinstance(e, Notice)]  # fmt: skip
    assert len([words for words in said if words.startswith("Going on from")]) == 2
    assert not list(project.glob(".llmwright/runs/*/checkpoints"))
