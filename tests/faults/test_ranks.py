"""Two processes train: they are stopped, one is killed, and one process alone ends the run."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest
from tiny_project import interrupt, known_runs, run, start_run, wait_until, write

from llmwright.core.events import Notice, Progress, read_events

pytestmark = [pytest.mark.fault, pytest.mark.slow]

ALONE = "{kind: single, device: cpu, num_threads: 1}"
TOGETHER = "{kind: torchrun, num_processes: 2, device: cpu, num_threads: 1}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    write(root)
    change(root, "epochs: 6", "epochs: 60")
    change(root, ALONE, TOGETHER)
    return root


def change(root: Path, before: str, after: str) -> None:
    path = root / "llmwright.yaml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def training(root: Path) -> Path:
    [folder] = (root / ".llmwright" / "runs").glob("*-train-*")
    return folder


def steps(root: Path) -> list[float]:
    """Return the steps that were reported, over all starts."""
    found = read_events(training(root) / "events.jsonl") if known_train(root) else ()
    return [e.done for _, e in found if isinstance(e, Progress) and e.stage == "train"]


def known_train(root: Path) -> bool:
    return any("-train-" in name for name in known_runs(root))


def test_stopped_killed_and_ended_by_one_alone(project: Path) -> None:
    process = start_run(project)
    wait_until(process, lambda: bool(steps(project)))
    interrupt(process, signal.SIGTERM)
    said, noise = process.communicate(timeout=120)
    assert json.loads(said)["error"]["code"] == "CORE-060", said + noise
    reached = max(steps(project))

    process = start_run(project)
    wait_until(process, lambda: max(steps(project)) > reached)
    ranks = [p for p in psutil.Process(process.pid).children() if "rank" in " ".join(p.cmdline())]
    assert len(ranks) == 2
    ranks[1].kill()
    said, noise = process.communicate(timeout=120)
    error = json.loads(said)["error"]
    assert (error["code"], error["values"]["exit_code"]) == ("TRAIN-123", -9), said + noise
    assert not any(rank.is_running() for rank in ranks)

    change(project, TOGETHER, ALONE)
    run(project)
    sentences = [
        e.text for _, e in read_events(training(project) / "events.jsonl") if isinstance(e, Notice)
    ]
    resumed = [words for words in sentences if words.startswith("Going on from the checkpoint")]
    # Both times it went on where the checkpoint was, in the same run.
    assert len(resumed) == 2
    assert not (training(project) / "checkpoints").exists()
