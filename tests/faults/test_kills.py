"""kill -9 and Ctrl-C in every step: nothing half-written is visible, and the next run goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tiny_project import (
    DYING,
    STEPS,
    begun,
    interrupt,
    known_runs,
    made,
    run,
    start,
    start_run,
    strays,
    unmade,
    wait_until,
)

from llmwright.core.project import Project

pytestmark = pytest.mark.fault


def check_aftermath(root: Path, finished: Path, step: str, complete: bool = False) -> None:
    """Check what a disturbed run left, run again, and compare with the undisturbed run."""
    expected = made(finished)
    left = made(root)
    assert (STEPS[step] in left) is complete
    assert {kind: expected[kind] for kind in left} == left
    assert list(strays(root)) == []
    answer = run(root)
    assert made(root) == expected
    assert list((root / ".llmwright" / "drafts").iterdir()) == []
    reused = {one["step"]: one["reused"] for one in answer["steps"]}
    assert reused == {name: name != step for name in STEPS}
    rows = Project(root).index.runs(step=step)
    assert rows[0].status == "finished"


@pytest.mark.parametrize("step", STEPS)
def test_kill_when_a_step_begins(finished: Path, tmp_path: Path, step: str) -> None:
    root = unmade(finished, tmp_path / "tiny", step)
    before = known_runs(root)
    process = start_run(root)
    wait_until(process, begun(root, step, before))
    process.kill()
    process.communicate()
    newest = max(Project(root).index.runs(step=step), key=lambda row: row.started)
    assert newest.status == "lost"
    check_aftermath(root, finished, step)
    assert newest.id in {row.id for row in Project(root).index.runs(status="finished")}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("when", "function", "number", "complete"),
    [
        ("before", "fsync", 2, False),  # some files are written, the manifest is not
        ("before", "rename", 1, False),  # everything is written, nothing is in place
        ("after", "rename", 1, True),  # in place, but no index knows it
    ],
    ids=lambda value: str(value),
)
def test_kill_while_a_step_saves(
    finished: Path,
    tmp_path: Path,
    step: str,
    when: str,
    function: str,
    number: int,
    complete: bool,
) -> None:
    root = unmade(finished, tmp_path / "tiny", step)
    process = start(root, "-c", DYING, when, function, str(number))
    _, noise = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL, noise
    assert list((root / ".llmwright" / "drafts").iterdir()) or complete or function == "fsync"
    check_aftermath(root, finished, step, complete)


def test_kill_after_a_checkpoint_goes_on_from_it(finished: Path, tmp_path: Path) -> None:
    root = unmade(finished, tmp_path / "tiny", "train")
    before = known_runs(root)
    process = start_run(root)

    def third_checkpoint() -> bool:
        logs = (root / ".llmwright" / "runs").glob("*/events.jsonl")
        new = [log for log in logs if log.parent.name not in before]
        return any('"done": 7' in log.read_text() for log in new)

    wait_until(process, third_checkpoint)
    process.kill()
    process.communicate()
    check_aftermath(root, finished, "train")
    (log,) = [
        (root / ".llmwright" / "runs" / name / "events.jsonl")
        for name in known_runs(root) - before
        if "-train-" in name
    ]
    second = log.read_text().split('"RunStarted"')[2]
    assert "Resumed" in second or "resum" in second.lower()
    assert '"done": 1,' not in second  # the first steps are not done again


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_in_a_step(finished: Path, tmp_path: Path, step: str, number: signal.Signals) -> None:
    root = unmade(finished, tmp_path / "tiny", step)
    process = start_run(root)
    wait_until(process, begun(root, step, known_runs(finished)))
    interrupt(process, number)
    said, noise = process.communicate(timeout=60)
    assert process.returncode == 1, said + noise
    assert json.loads(said)["error"]["code"] == "CORE-060"
    assert "Traceback" not in noise
    assert list((root / ".llmwright" / "drafts").glob("*")) == []
    newest = max(Project(root).index.runs(step=step), key=lambda row: row.started)
    assert newest.status == "stopped"
    check_aftermath(root, finished, step)
