from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from llmwright.core import hardware
from llmwright.core.artifacts import Store
from llmwright.core.errors import CheckError
from llmwright.core.events import ArtifactSaved, Event, Notice, Progress
from llmwright.core.runs import Run, interrupt_on_terminate, killed_for_memory


@pytest.fixture
def seen() -> list[Event]:
    return []


@pytest.fixture
def run(tmp_path: Path, seen: list[Event]) -> Run:
    return Run("r1", tmp_path, tmp_path, Store(tmp_path), [seen.append], {"run": "r1"})


def test_what_a_run_says_reaches_every_consumer(run: Run, seen: list[Event]) -> None:
    run.notice("found it", "warning")
    late: list[Event] = []
    run.follow(late.append)
    run.progress("train", 1, 2, "steps", loss=0.5)
    assert seen == [Notice("found it", "warning"), Progress("train", 1, 2, "steps", {"loss": 0.5})]
    assert late == seen[1:]


def test_a_saved_artifact_knows_its_origin_and_is_announced(run: Run, seen: list[Event]) -> None:
    from llmwright.core.artifacts import read_manifest

    with run.draft("model") as draft:
        (draft.path / "a").write_text("a")
    assert draft.artifact is not None
    assert read_manifest(draft.artifact.path)["origin"] == {"run": "r1"}
    assert seen == [ArtifactSaved(draft.artifact.id, "model", str(draft.artifact.path))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(run: Run, number: int) -> None:
    before = signal.getsignal(number)
    with run.stoppable():
        assert not run.should_stop()
        signal.raise_signal(number)
        assert run.should_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
    assert run.stop().code == "CORE-060"


def test_terminate_acts_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupt_on_terminate(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_leave_signals_alone(run: Run) -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with run.stoppable(), interrupt_on_terminate():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


def test_kills_for_lack_of_memory_are_counted_and_others_are_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = run.folder / "vmstat"
    monkeypatch.setattr(hardware, "MACHINE_COUNTS", counts)
    monkeypatch.setattr(hardware, "PROCESS_CGROUP", run.folder / "none")

    begun = []

    def start(system_count: int, dies: bool) -> int:
        """Begin at a count, perhaps be killed, and say how many kills were known."""
        counts.write_text(f"oom_kill {system_count}\n")
        work = run.recoverable()
        work.__enter__()
        begun.append(work)  # else it would be ended in good order
        if not dies:
            work.__exit__(None, None, None)
        return run.num_kills()

    assert start(5, dies=True) == 0
    assert start(5, dies=True) == 0  # killed, but not for lack of memory
    assert start(6, dies=False) == 1
    # It ended in good order: what the system counted since is not about it.
    assert start(9, dies=True) == 1
    assert start(10, dies=True) == 2
    run.forget_kills()
    assert start(11, dies=False) == 0


def test_who_loses_a_process_beside_it_knows_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = run.folder / "vmstat"
    monkeypatch.setattr(hardware, "MACHINE_COUNTS", counts)
    monkeypatch.setattr(hardware, "PROCESS_CGROUP", run.folder / "none")

    def fail(error: Exception, later: int) -> None:
        with run.recoverable():
            counts.write_text(f"oom_kill {later}\n")
            raise error

    def lose(error: Exception, later: int) -> int:
        counts.write_text("oom_kill 5\n")
        with pytest.raises(type(error)):
            fail(error, later)
        return run.num_kills()

    assert lose(RuntimeError("connection closed"), later=5) == 0
    assert lose(CheckError("CORE-032", identity="x", path="y", files="z"), later=6) == 0
    assert lose(RuntimeError("connection closed"), later=6) == 1
    # It is counted once.
    counts.write_text("oom_kill 7\n")
    with run.recoverable():
        assert run.num_kills() == 1


def test_a_kill_elsewhere_on_the_machine_is_not_ours(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, group = run.folder / "all", run.folder / "group" / "memory.events"
    (run.folder / "cgroup").write_text("0::/group\n")
    group.parent.mkdir()
    monkeypatch.setattr(hardware, "MACHINE_COUNTS", machine)
    monkeypatch.setattr(hardware, "PROCESS_CGROUP", run.folder / "cgroup")
    monkeypatch.setattr(hardware, "CGROUP", run.folder)
    machine.write_text("oom_kill 5\n")
    group.write_text("oom 0\noom_kill 0\n")
    work = run.recoverable()
    work.__enter__()
    machine.write_text("oom_kill 6\n")
    assert not killed_for_memory(run.folder)
    group.write_text("oom 1\noom_kill 1\n")
    assert killed_for_memory(run.folder)
    group.unlink()
    assert killed_for_memory(run.folder)
    work.__exit__(None, None, None)
