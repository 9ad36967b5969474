"""Runs that fail, are killed or stopped: what is recorded, and that the next start goes on."""

from __future__ import annotations

import signal

import pytest
from tiny_table import RUN, TABLE, Python, load, reused, rewrite, run, waiting_run

from llmwright.core import events, pipeline
from llmwright.core.errors import (
    CheckError,
    ConfigError,
)
from llmwright.core.origin import lock as locks
from llmwright.core.project import Project


def test_a_failed_run_is_recorded_and_shows_nothing(project: Project) -> None:
    seen: list[events.Event] = []
    with pytest.raises(CheckError):
        pipeline.run_project(load(project.root, shape={"behave": "fail"}), TABLE, [seen.append])
    row = project.index.runs(step="shape")[0]
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "CORE-032"
    assert isinstance(seen[-1], events.RunFailed)
    kept = events.read_events(project.home / "runs" / row.id / "events.jsonl")
    assert [event for _, event in kept] == seen[-3:]
    assert [a.kind for a in project.store.list()] == ["text"]
    assert not list((project.home / "drafts").iterdir())


def test_a_defect_is_recorded_as_one(project: Project) -> None:
    with pytest.raises(ZeroDivisionError):
        run(project, shape={"behave": "break"})
    row = project.index.runs(step="shape")[0]
    assert row.error is not None
    assert row.error["code"] == "CORE-099"


def test_a_run_that_failed_goes_on_in_its_own_folder(project: Project) -> None:
    with pytest.raises(CheckError):
        run(project, shape={"behave": "fail once"})
    (failed,) = project.index.runs(step="shape")
    run(project, shape={"behave": "fail once"})
    (again,) = project.index.runs(step="shape")
    assert (again.id, again.status) == (failed.id, "finished")
    log = events.read_events(project.home / "runs" / again.id / "events.jsonl")
    began = [e.value for _, e in log if isinstance(e, events.Metric)]
    assert began == [0.0, 1.0]


def test_a_killed_run_goes_on(project: Project, python: Python) -> None:
    rewrite(project, "gather: {source: poem.txt}\nshape: {behave: die once}\n")
    assert python(RUN, project.root).returncode == -signal.SIGKILL
    (lost,) = project.index.runs(step="shape")
    assert lost.status == "lost"
    assert [a.kind for a in project.store.list()] == ["text"]
    done = python(RUN, project.root)
    assert done.stdout.split() == ["gather", "True", "shape", "False"], done.stderr
    (again,) = project.index.runs(step="shape")
    assert (again.id, again.status) == (lost.id, "finished")
    assert not list((project.home / "drafts").iterdir())


KILLED_AT_THE_END = """
import os, signal
from llmwright.core.index import Index
plain = Index.finish_run
def dying(self, run, *how):
    if "shape" in run:
        os.kill(os.getpid(), signal.SIGKILL)
    plain(self, run, *how)
Index.finish_run = dying
"""


def test_checkpoints_stay_until_the_run_is_written_down_as_finished(
    project: Project, python: Python
) -> None:
    rewrite(project, "gather: {source: poem.txt}\nshape: {behave: keep}\n")
    assert python(KILLED_AT_THE_END + RUN, project.root).returncode == -signal.SIGKILL
    (lost,) = project.index.runs(step="shape")
    kept = project.home / "runs" / lost.id / "checkpoints"
    assert lost.status == "lost"
    assert kept.is_dir()
    run(project)
    assert project.index.runs(step="shape")[0].status == "finished"
    assert not kept.exists()
    kept.mkdir()  # killed just before they were removed
    assert reused(run(project)) == [True, True]
    assert not kept.exists()


def test_a_run_that_goes_on_elsewhere_says_so_and_its_lock_keeps_both(
    project: Project, python: Python
) -> None:
    rewrite(project, "gather: {source: poem.txt}\nshape: {behave: die once}\n")
    assert python(RUN, project.root).returncode == -signal.SIGKILL
    (lost,) = project.index.runs(step="shape")
    folder = project.home / "runs" / lost.id
    lock, _ = locks.read(folder / locks.LOCK_FILE)
    lock["versions"]["torch"], lock["machine"]["num_cores"] = "1.0", 77
    locks.write(folder, lock)
    seen: list[events.Event] = []
    done = pipeline.run_project(load(project.root), TABLE, [seen.append])
    (said,) = [e.text for e in seen if isinstance(e, events.Notice) and "77" in e.text]
    assert "versions.torch: 1.0 → " in said
    written, untouched = locks.read(folder / locks.LOCK_FILE)
    assert untouched
    assert written["before"] == [{part: lock[part] for part in locks.FACTS}]
    assert written["machine"] == locks.machine()
    assert done[1].artifact is not None
    assert locks.of_artifact(done[1].artifact)["before"] == written["before"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("behaviour", ["wait", "wait deaf"])
def test_a_stopped_run_is_recorded_and_goes_on(
    project: Project, python: Python, number: signal.Signals, behaviour: str
) -> None:
    rewrite(project, f"gather: {{source: poem.txt}}\nshape: {{behave: {behaviour}}}\n")
    process = waiting_run(project)
    with pytest.raises(ConfigError) as caught:
        run(project)
    assert caught.value.code == "CORE-061"
    assert str(process.pid) in caught.value.message
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    assert said.split() == ["CORE-060"]
    assert project.index.runs(step="shape")[0].status == "stopped"
    assert [a.kind for a in project.store.list()] == ["text"]
    assert reused(run(project)) == [True, False]


def test_what_is_different_from_an_unfinished_run_is_said(project: Project) -> None:
    rewrite(project, "gather: {source: poem.txt}\nshape: {behave: fail at work}\n")
    with pytest.raises(CheckError):
        run(project)
    rewrite(project, "gather: {source: poem.txt}\nshape: {colour: green}\n")
    seen: list[events.Event] = []
    pipeline.run_project(Project.load(project.file, TABLE), TABLE, [seen.append])
    said = [event.text for event in seen if isinstance(event, events.Notice)]
    assert any("(behave: fail at work → well, colour: red → green)" in words for words in said)
    seen.clear()
    rewrite(project, "gather: {source: poem.txt}\nshape: {colour: red}\n")
    pipeline.run_project(Project.load(project.file, TABLE), TABLE, [seen.append])
    assert not [event for event in seen if isinstance(event, events.Notice)]
