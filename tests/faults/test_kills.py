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

from llmwright.core.events import Notice, read_events
from llmwright.core.locale import text
from llmwright.core.project import Project

pytestmark = pytest.mark.fault


def drafts(root: Path) -> list[Path]:
    """Unfinished artifacts; the lock of one that was finished goes with the next one."""
    return [path for path in (root / ".llmwright" / "drafts").glob("*") if path.is_dir()]


def check_aftermath(root: Path, finished: Path, step: str, complete: bool = False) -> None:
    """Check what a disturbed run left, run again, and compare with the undisturbed run."""
    expected = made(finished)
    left = made(root)
    assert (STEPS[step] in left) is complete
    assert {kind: expected[kind] for kind in left} == left
    assert list(strays(root)) == []
    answer = run(root)
    assert made(root) == expected
    assert drafts(root) == []
    reused = {one["step"]: one["reused"] for one in answer["steps"]}
    # What was complete may count again for the run that had made it before the disturbance.
    assert all(reused[name] for name in STEPS if name != step)
    assert complete or not reused[step]
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
    process = start(root, "-c", DYING, when, function, "drafts", str(number))
    _, noise = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL, noise
    assert len(drafts(root)) == (not complete)
    check_aftermath(root, finished, step, complete)


@pytest.mark.parametrize(
    ("when", "function", "number"),
    [
        ("before", "write", 8),  # the weights are written, the optimizer's state is not
        ("before", "fsync", 20),  # not on the disk yet
        ("before", "link", 2),  # the best weights have no second name yet
        ("before", "rename", 5),
        ("after", "rename", 5),
    ],
)
def test_kill_inside_a_checkpoint_goes_on_from_the_last_whole_one(
    finished: Path, tmp_path: Path, when: str, function: str, number: int
) -> None:
    root = unmade(finished, tmp_path / "tiny", "train")
    before = known_runs(root)
    process = start(root, "-c", DYING, when, function, "checkpoints", str(number))
    _, noise = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL, noise
    check_aftermath(root, finished, "train")
    (name,) = [name for name in known_runs(root) - before if "-train-" in name]
    log = root / ".llmwright" / "runs" / name / "events.jsonl"
    said = [event.text for _, event in read_events(log) if isinstance(event, Notice)]
    # Best weights are written, too; what counts is that whole steps were not done again.
    resumed = [text("training.resumed", "en", step=step) for step in range(2, 20)]
    assert len([sentence for sentence in said if sentence in resumed]) == 1


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
    assert drafts(root) == []
    newest = max(Project(root).index.runs(step=step), key=lambda row: row.started)
    assert newest.status == "stopped"
    check_aftermath(root, finished, step)
