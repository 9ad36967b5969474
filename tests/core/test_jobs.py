from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tiny_table import Python

from llmwright.core import jobs
from llmwright.core.errors import ConfigError
from llmwright.core.index import JobRow, is_alive

START = """
import sys
from pathlib import Path
from llmwright.core import jobs
print(jobs.start(Path(sys.argv[1]), [sys.executable, "-uc", sys.argv[2]], Path.cwd()).id)
"""
# Says 天气 in two halves, then works until it is asked to stop, and takes its time to save.
PATIENT = """
import signal, sys, time
def stop(*_):
    print("saving", flush=True); time.sleep(0.3); print("saved", flush=True); sys.exit(1)
signal.signal(signal.SIGTERM, stop)
half = "天气".encode()
sys.stdout.buffer.write(half[:4]); sys.stdout.buffer.flush(); time.sleep(0.3)
sys.stdout.buffer.write(half[4:] + b" ready\\n"); sys.stdout.buffer.flush()
while True: time.sleep(0.05)
"""
DEAF = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready')\ntime.sleep(60)"

Start = Callable[[str], JobRow]


@pytest.fixture(autouse=True)
def _wait_for_supervisors() -> Iterator[None]:
    yield
    for process in jobs._STARTED:
        process.wait(timeout=30)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / ".llmwright"


@pytest.fixture
def start(home: Path, python: Python) -> Start:
    """Start a job from a process that ends at once."""

    def begin(code: str) -> JobRow:
        done = python(START, home, code)
        assert done.returncode == 0, done.stderr
        return jobs.find(home, done.stdout.strip())

    return begin


def until(home: Path, row: JobRow, word: str) -> None:
    deadline = time.monotonic() + 20
    while word not in "".join(jobs.tail(home, row, follow=False)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(home: Path, row: JobRow) -> JobRow:
    deadline = time.monotonic() + 20
    while jobs.find(home, row.id).status == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return jobs.find(home, row.id)


def test_a_job_outlives_its_parent_and_its_output_is_followed(home: Path, start: Start) -> None:
    row = start("import time; print('one'); time.sleep(0.5); print('two')")
    assert row.status == "running"
    assert psutil.Process(row.pid).ppid() != os.getpid()
    assert "".join(jobs.tail(home, row)) == "one\ntwo\n"
    row = ended(home, row)
    assert (row.status, row.exit_code) == ("finished", 0)
    assert row.finished is not None


def test_the_exit_code_of_a_failed_command_is_kept(home: Path, start: Start) -> None:
    row = ended(home, start("import sys; sys.exit(3)"))
    assert (row.status, row.exit_code) == ("failed", 3)


def test_a_cancelled_job_saves_its_state_first(home: Path, start: Start) -> None:
    row = start(PATIENT)
    chunks = jobs.tail(home, row)
    said = ""
    while "ready" not in said:  # the tail is read while a character is half written
        said += next(chunks)
    row = jobs.cancel(home, row)
    assert (row.status, row.exit_code) == ("stopped", 1)
    assert said + "".join(chunks) == "天气 ready\nsaving\nsaved\n"
    assert jobs.cancel(home, row) == row


def test_a_job_that_does_not_listen_is_ended(home: Path, start: Start) -> None:
    row = start(DEAF)
    until(home, row, "ready")
    row = jobs.cancel(home, row, timeout_seconds=0.2)
    assert (row.status, row.exit_code) == ("stopped", -signal.SIGKILL)


def test_ending_the_supervisor_ends_the_command(home: Path, start: Start) -> None:
    row = start(PATIENT)
    until(home, row, "ready")
    (child,) = psutil.Process(row.pid).children()
    os.kill(row.pid, signal.SIGTERM)
    row = ended(home, row)
    assert (row.status, row.exit_code) == ("stopped", 1)
    assert not child.is_running()


def test_a_killed_supervisor_means_lost(home: Path, start: Start) -> None:
    row = start(DEAF)
    until(home, row, "ready")
    (child,) = psutil.Process(row.pid).children()
    os.kill(row.pid, signal.SIGKILL)
    assert ended(home, row).status == "lost"
    child.kill()


def test_a_command_that_is_not_there_fails_in_words(home: Path, tmp_path: Path) -> None:
    row = ended(home, jobs.start(home, [str(tmp_path / "nothing")], tmp_path))
    assert (row.status, row.exit_code) == ("failed", 127)
    assert "nothing" in "".join(jobs.tail(home, row))


def test_jobs_of_a_living_parent_leave_no_zombies(home: Path, tmp_path: Path) -> None:
    first = ended(home, jobs.start(home, [sys.executable, "-c", "1"], tmp_path))
    while is_alive(first.pid, first.pid_started):
        time.sleep(0.01)
    second = jobs.start(home, [sys.executable, "-c", "1"], tmp_path)
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(first.pid)
    ended(home, second)


def test_jobs_are_found_by_the_beginning_of_their_id(home: Path, tmp_path: Path) -> None:
    row = jobs.start(home, [sys.executable, "-c", "1"], tmp_path)
    assert jobs.find(home, row.id[:-1]).id == row.id
    with pytest.raises(ConfigError) as caught:
        jobs.find(home, "nothing")
    assert caught.value.code == "CORE-080"
    ended(home, row)


def test_nothing_of_the_job_hangs_on_our_pipes(home: Path) -> None:
    """A parent whose output is a pipe ends at once, though its job goes on."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", START, str(home), "import time; time.sleep(30)"],
        capture_output=True,
        text=True,
        check=True,
    )
    row = jobs.cancel(home, jobs.find(home, done.stdout.strip()))
    assert row.status == "stopped"  # even before the command was there to be stopped
    assert time.monotonic() - began < 20


SUPERVISE = """
import sys
from pathlib import Path
from llmwright.core import hardware, jobs
hardware.MACHINE_COUNTS = Path(sys.argv[1])
hardware.PROCESS_CGROUP = Path("none")
child = [sys.executable, "-c", sys.argv[4], *sys.argv[1:4]]
jobs.supervise(Path(sys.argv[2]), "job-1", Path.cwd(), child)
"""
# Is killed twice in the middle of its work; `why` says whether the system counts it, or whether it
# does not come as far again.
HUNGRY = """
import os, signal, sys, time
from pathlib import Path
from llmwright.core import hardware
from llmwright.core.artifacts import Store
from llmwright.core.index import Index, RunRow, run_folder
from llmwright.core.runs import Run
counts, home, why = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
hardware.MACHINE_COUNTS = counts
hardware.PROCESS_CGROUP = Path("none")
index, now = Index(home), time.time()
row = RunRow("run-1", "train", "train", "running", "f", {}, {}, os.getpid(), now, None, now, "", {})
row, _ = index.begin_run(row, {})
run = Run(row.id, run_folder(home, row.id), home, Store(home))
if why == "early" and run.num_kills() == 0 and (home / "said").exists():
    counts.write_text("oom_kill 99\\n")
    os.kill(os.getpid(), signal.SIGKILL)
with run.recoverable():
    with open(home / "said", "a") as file:
        file.write(f"{run.num_kills()} ")
    if run.num_kills() < 2:
        if why in ("memory", "early"):
            number = int(counts.read_text().split()[-1])
            counts.write_text(f"oom_kill {number + 1}\\n")
        os.kill(os.getpid(), signal.SIGKILL)
index.finish_run(row.id, "finished", None)
"""


@pytest.mark.parametrize(
    ("why", "said", "status", "code"),
    [
        ("memory", "0 1 2 ", "finished", 0),
        ("somebody", "0 ", "failed", -signal.SIGKILL),
        ("early", "0 ", "failed", -signal.SIGKILL),
    ],
)
def test_only_who_is_killed_for_memory_and_can_do_with_less_is_started_again(
    home: Path, tmp_path: Path, python: Python, why: str, said: str, status: str, code: int
) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 7\noom_kill 41\n")
    done = python(SUPERVISE, counts, home, why, HUNGRY)
    assert done.returncode == 0, done.stderr
    assert (home / "said").read_text() == said, done.stderr
    # Killed again before it could take less, it would be killed for ever.
    starts = 2 if why == "early" else len(said.split())
    assert done.stderr.count("memory ran out") == starts - 1
    row = jobs.find(home, "job-1")
    assert (row.status, row.exit_code) == (status, code)
