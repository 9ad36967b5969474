from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tiny_table import Python

from llmwright.core.errors import ConfigError, ResourceError
from llmwright.core.index import Index, JobRow, RunRow, is_alive, process_started

ME = os.getpid()


def row(name: str, **changes: object) -> RunRow:
    base = RunRow(
        id=name, operation="shape", step="shape", status="running", fingerprint="f",
        config={"名": 1}, versions={"torch": "2"}, pid=ME,
        started=1.0, finished=None, used=1.0, artifact=None, error=None,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    index = Index(tmp_path / ".llmwright")
    yield index
    for held in index._held.values():
        held.close()


def test_looking_creates_nothing(index: Index) -> None:
    assert index.runs() == []
    assert index.jobs() == []
    assert not index.path.parent.exists()


def test_a_run_is_written_and_read(index: Index) -> None:
    index.begin_run(row("a"), {"text": "t1"})
    (found,) = index.runs(fingerprint="f")
    assert (found.id, found.config, found.status) == ("a", {"名": 1}, "running")
    assert index.inputs("a") == {"text": "t1"}
    index.finish_run("a", "failed", None, {"code": "X"})
    (found,) = index.runs()
    assert (found.status, found.error) == ("failed", {"code": "X"})


def test_the_last_made_or_used_comes_first_even_when_the_clock_goes_back(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        index.begin_run(row(name, fingerprint=name), {})
        index.finish_run(name, "finished", name)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    index.use_run("a")
    assert [r.id for r in index.runs()] == ["a", "c", "b"]


BEGIN = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from llmwright.core.index import Index
from test_index import row
index = Index(Path(sys.argv[1]))
index.begin_run(row("a"), {})
if sys.argv[3] == "die":
    os.kill(os.getpid(), 9)
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_run_whose_process_is_gone_is_lost(index: Index, python: Python) -> None:
    python(BEGIN, index.path.parent, Path(__file__).parent, "die")
    assert index.runs()[0].status == "lost"
    assert index.begin_run(row("b"), {})[1]


def test_a_run_is_seen_as_running_whatever_the_clock_says(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [sys.executable, "-c", BEGIN, str(index.path.parent), str(Path(__file__).parent), "-"]
    live = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert live.stdout is not None
    live.stdout.readline()
    # The clock was set.
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 5)
    assert index.runs()[0].status == "running"
    with pytest.raises(ConfigError) as caught:
        index.begin_run(row("b"), {})
    assert caught.value.code == "CORE-061"
    live.communicate(b"")
    assert index.runs()[0].status == "lost"


def test_a_process_keeps_its_mark_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    started = process_started(ME)
    assert started is not None
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 5)
    assert is_alive(ME, started)
    assert not is_alive(ME, started + "0")


def test_a_run_that_could_not_be_written_is_not_held(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(Index, "_insert", fail)
        with pytest.raises(ResourceError):
            index.begin_run(row("a"), {})
    assert index.begin_run(row("a"), {}) == (row("a"), False)


def test_the_same_work_running_is_refused_and_unfinished_work_is_continued(index: Index) -> None:
    assert index.begin_run(row("a"), {}) == (row("a"), False)
    with pytest.raises(ConfigError) as caught:
        index.begin_run(row("b"), {})
    assert caught.value.code == "CORE-061"
    index.finish_run("a", "failed", None)
    continued, resumed = index.begin_run(row("b"), {})
    assert (continued.id, resumed) == ("a", True)
    index.finish_run("a", "failed", None)
    assert index.begin_run(row("c"), {}, resume=False) == (row("c"), False)


def test_a_row_this_process_left_behind_is_lost(index: Index) -> None:
    index.begin_run(row("a"), {})
    index._held.pop("a").close()  # as when the disk was full and the end could not be written
    assert index.runs()[0].status == "lost"
    assert index.begin_run(row("b"), {})[1]


def test_of_many_processes_one_gets_the_work(index: Index, tmp_path: Path, python: Python) -> None:
    code = """
import sys, os, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from llmwright.core.errors import ConfigError
from llmwright.core.index import Index
from test_index import row
index = Index(Path(sys.argv[1]))
def work(n):
    try:
        index.begin_run(row(f"{os.getpid()}-{n}"), {"text": "t"})
    except ConfigError:
        return 0
    return 1
with ThreadPoolExecutor(8) as pool:
    won = sum(pool.map(work, range(16)))
print(won)
"""
    done = python(code, index.path.parent, Path(__file__).parent)
    assert done.stdout == "1\n", done.stderr
    assert len(index.runs()) == 1


def test_many_writers_lose_nothing(index: Index, python: Python) -> None:
    code = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from llmwright.core.index import Index
from test_index import row
index = Index(Path(sys.argv[1]))
def work(n):
    for turn in range(5):
        name = f"{n}-{turn}"
        index.begin_run(row(name, fingerprint=name), {"text": name})
        index.finish_run(name, "finished", name)
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    done = python(code, index.path.parent, Path(__file__).parent)
    assert done.stderr == ""
    assert len(index.runs(status="finished")) == 30


def test_a_damaged_index_is_a_clear_error(index: Index) -> None:
    index.path.parent.mkdir()
    index.path.write_text("this is no database, but long enough to look like one" * 20)
    with pytest.raises(ResourceError) as caught:
        index.runs()
    assert caught.value.code == "CORE-022"


def test_an_index_without_tables_yet_is_empty(index: Index) -> None:
    index.path.parent.mkdir()
    sqlite3.connect(index.path).close()
    index.path.touch()
    assert index.runs() == []


def test_a_job_row_of_the_supervisor_counts_more(index: Index) -> None:
    started = process_started(ME) or ""
    ended = JobRow("j", ["x"], ME, started, "finished", 0, 1.0, 2.0)
    index.save_job(ended)
    index.save_job(replace(ended, status="running", exit_code=None), overwrite=False)
    assert index.jobs() == [ended]
