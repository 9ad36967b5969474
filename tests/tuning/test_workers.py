"""Processes that perform trials: one that dies takes only its trial with it."""

from __future__ import annotations

import threading
import time

import psutil
import pytest

from llmwright.core.artifacts import Store
from llmwright.core.errors import StoppedError
from llmwright.core.runs import Run
from llmwright.tuning.trial import Assignment
from llmwright.tuning.workers import Pool


@pytest.fixture
def run(tmp_path) -> Run:
    return Run("run", tmp_path, tmp_path, Store(tmp_path / ".llmwright"))


def work(number: int, folder) -> Assignment:
    return Assignment(number, f"trial-{number}", {}, {}, [], {"metric": "loss"}, str(folder), "")


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def test_a_killed_process_fails_its_trial_and_the_next_one_goes_on(run, tmp_path) -> None:
    before = children()
    with Pool(1, run, lambda *_: False) as pool:
        for number in (1, 2):
            pool.start(work(number, tmp_path))
            assert pool.num_busy == 1
            (process,) = [child for child in children() if child not in before]
            process.kill()
            ended, outcome = pool.wait()
            assert (ended, outcome.state) == (number, "failed")
            assert "-9" in outcome.error
            assert "worker-0.log" in outcome.error
            assert pool.num_busy == 0
    assert children() == before


def test_stopping_ends_all_processes(run, tmp_path) -> None:
    before = children()
    with Pool(2, run, lambda *_: False) as pool:
        pool.start(work(1, tmp_path))
        pool.start(work(2, tmp_path))
        assert len(children()) == len(before) + 2
        threading.Timer(0.3, run._stop.set).start()
        with pytest.raises(StoppedError):
            pool.wait()
    assert children() == before


@pytest.mark.slow
def test_a_process_ends_when_nobody_listens(run, tmp_path) -> None:
    with Pool(1, run, lambda *_: False) as pool:
        pool.start(work(1, tmp_path))
        # Settings that are none: it says so, and waits for more.
        _, outcome = pool.wait()
        assert outcome.state == "failed"
        (process,) = [c for c in children() if "llmwright.tuning.worker" in c.cmdline()]
        pool._workers[0].process.stdin.close()
        deadline = time.monotonic() + 20
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
