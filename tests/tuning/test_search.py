"""A search that is killed or stopped goes on, and ends as if nothing had happened."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmwright.core.artifacts import Artifact, Store
from llmwright.tuning.study import JOURNAL_FILE

RANDOM = {"train.lr": {"log": [1e-4, 0.05]}, "train.weight_decay": {"float": [0, 0.3]}}
SEARCH = {"space": RANDOM, "num_trials": 4, "sampler": {"kind": "tpe", "num_startup": 2}}


def start(project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "llmwright.cli", "tune", "--project", str(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(project: Path, num_trials: int) -> None:
    """Wait until so many trials are done and the next one has begun to train."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for journal in (project / ".llmwright" / "runs").glob(f"*-tune-*/{JOURNAL_FILE}"):
            ended = journal.read_text().count('"state":1')
            files = journal.parent.glob("trials/*/checkpoints/step-*")
            running = {
                file.parts[-3]
                for file in files
                if not list(file.parents[1].glob("store/*/model/*"))
            }
            if ended >= num_trials and running:
                return
        time.sleep(0.01)
    raise AssertionError("the search did not get that far")


def finish(project: Path) -> tuple[Artifact, str]:
    process = start(project)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    (study,) = [one for one in Store(project / ".llmwright").list() if one.kind == "study"]
    return study, said


TRAIN = {"epochs": 12, "evaluate_every_steps": 20}


@pytest.mark.slow
@pytest.mark.fault
def test_an_interrupted_search_ends_as_a_whole_one(write, project, tmp_path) -> None:
    write(TRAIN, **SEARCH)
    other = Path(shutil.copytree(project, tmp_path / "whole"))
    process = start(project)
    wait_for(project, 1)
    process.kill()
    process.communicate(timeout=60)
    process = start(project)
    wait_for(project, 2)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "CORE-060" in said
    assert "Run the same command again" in said
    found, said = finish(project)
    assert "Going on after" in said
    assert found.metadata["interrupted"] == 2
    (run,) = (project / ".llmwright" / "runs").glob("*-tune-*")
    assert not {path.name for path in run.iterdir()} & {"trials", "folds", "final"}
    whole, _ = finish(other)
    # Not a byte of the study or of its model is different.
    assert (found.id, found.metadata["model"]) == (whole.id, whole.metadata["model"])


@pytest.mark.slow
@pytest.mark.fault
def test_parallel_trials_end_with_their_search(write, project) -> None:
    write(TRAIN, **SEARCH, num_parallel=2)
    process = start(project)
    wait_for(project, 1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert "CORE-060" in said
    found, said = finish(project)
    assert found.metadata["trials"] == {"complete": 4, "pruned": 0, "failed": 0}
    assert 1 <= found.metadata["interrupted"] <= 2


@pytest.mark.slow
@pytest.mark.fault
def test_a_stopped_search_goes_on_with_another_budget(write, project, tmp_path) -> None:
    longer = {**SEARCH, "num_trials": 5}
    other = Path(shutil.copytree(project, tmp_path / "whole"))
    write(TRAIN, **SEARCH)
    process = start(project)
    wait_for(project, 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    shutil.copy(write(TRAIN, **longer), other)
    found, said = finish(project)
    assert "Going on from the search" in said
    # What was running goes on from its checkpoint.
    assert found.metadata["interrupted"] == 1
    whole, _ = finish(other)
    assert found.id == whole.id
