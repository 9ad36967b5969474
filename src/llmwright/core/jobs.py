"""Detached jobs: a command that outlives the terminal, with a supervisor of its own.

``start`` launches ``python -m llmwright.core.jobs FOLDER ID`` in a new session; that supervisor
runs the command with its output in a file, waits, and writes the exit code to the index. Any
later process finds the job again by pid and start time.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import psutil

from llmwright.core import files
from llmwright.core.errors import ConfigError, closest
from llmwright.core.index import Index, JobRow, Status, is_alive, process_started, run_folder
from llmwright.core.locale import text
from llmwright.core.runs import KILLS, killed_for_memory

POLL_SECONDS = 0.1
CANCELLED = "cancelled"
# What a shell returns for it.
COMMAND_NOT_FOUND = 127
# How a command ends that was killed: itself, or what it had started in its place.
KILLED = (-9, 128 + 9)

# Supervisors that this process launched.
_STARTED: list[subprocess.Popen[bytes]] = []


def folder_of(home: Path, job: str) -> Path:
    """Return the folder of a job: its command and its ``output.log``."""
    return home / "jobs" / job


def start(home: Path, argv: list[str], cwd: Path) -> JobRow:
    """Launch a command as a detached job and return its row.

    Args:
        home: The project's ``.llmwright`` folder.
        argv: Program and arguments.
        cwd: Working folder of the command.
    """
    job = f"{time.strftime('%Y%m%d-%H%M%S')}-job-{secrets.token_hex(2)}"
    folder = folder_of(home, job)
    for earlier in _STARTED:
        earlier.poll()  # an ended supervisor must not stay as a zombie of this process
    with files.disk_errors(folder):
        folder.mkdir(parents=True)
        log = (folder / "output.log").open("ab")
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmwright.core.jobs", str(home), job, str(cwd), *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _STARTED.append(process)
    began = process_started(process.pid) or ""
    row = JobRow(job, argv, process.pid, began, "running", None, time.time(), None)
    # The supervisor writes the same row; where it was quicker, its own counts.
    Index(home).save_job(row, overwrite=False)
    return row


def find(home: Path, identity: str) -> JobRow:
    """Return the job whose id is, or begins with, ``identity``.

    Raises:
        ConfigError: None or several are (``CORE-080``).
    """
    jobs = Index(home).jobs()
    found = [row for row in jobs if row.id == identity or row.id.startswith(identity)]
    if len(found) != 1:
        hint = closest(identity, (row.id for row in jobs))
        raise ConfigError("CORE-080", identity=identity, count=len(found), hint=hint)
    return found[0]


def cancel(home: Path, row: JobRow, timeout_seconds: float = 30.0) -> JobRow:
    """Ask a job to stop, so that it saves its state; end it when it does not in time.

    Args:
        home: The project's ``.llmwright`` folder.
        row: The job.
        timeout_seconds: How long it may take to save its state, at least 0.
    """
    if row.status != "running":
        return row
    with files.disk_errors(home):
        (folder_of(home, row.id) / CANCELLED).touch()
    for process in _children(row):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    if not _wait_for_end(row, timeout_seconds):
        for process in _children(row, recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _wait_for_end(row, timeout_seconds)
    return find(home, row.id)


def _children(row: JobRow, recursive: bool = False) -> list[psutil.Process]:
    """Return the supervised processes of a job; the supervisor ends by itself after them."""
    if not is_alive(row.pid, row.pid_started):
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(row.pid).children(recursive=recursive)
    return []


def _wait_for_end(row: JobRow, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while is_alive(row.pid, row.pid_started):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def tail(home: Path, row: JobRow, follow: bool = True) -> Iterator[str]:
    """Yield the job's output from its beginning, and what comes until it ends."""
    path = folder_of(home, row.id) / "output.log"
    # A read may end within a character; the decoder keeps its first bytes for the next one.
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    with path.open("rb") as file:
        while True:
            ended = not is_alive(row.pid, row.pid_started)
            chunk = file.read()
            if chunk:
                yield decode(chunk)
            elif ended or not follow:
                return
            else:
                time.sleep(POLL_SECONDS)


def supervise(home: Path, job: str, cwd: Path, argv: list[str]) -> int:
    """Run the command, wait for it and record how it ended; the supervisor's main function."""
    index = Index(home)
    pid = os.getpid()
    now = time.time()
    row = JobRow(job, argv, pid, process_started(pid) or "", "running", None, now, None)
    index.save_job(row)
    flag = folder_of(home, job) / CANCELLED
    kills: set[tuple[Path, str]] = set()
    code, again = _run_to_end(home, argv, cwd, flag, kills)
    while again and not flag.exists():
        sys.stderr.write(text("core.job_restarted") + "\n")
        code, again = _run_to_end(home, argv, cwd, flag, kills)
    # The command itself decides its code: stopped in time it may even have finished.
    status: Status = "finished" if code == 0 else "stopped" if flag.exists() else "failed"
    index.save_job(replace(row, status=status, exit_code=code, finished=time.time()))
    return 0


def _run_to_end(
    home: Path, argv: list[str], cwd: Path, flag: Path, kills: set[tuple[Path, str]]
) -> tuple[int, bool]:
    """Run the command; return its exit code, and whether to start it again.

    That is so where the system killed it because memory ran out, in the middle of work that can go
    on with less: see `_can_go_on`, which adds to ``kills``.
    """
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        # Whoever ends the supervisor means the job.
        flag.touch()
        if process is not None:
            process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    try:
        process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return COMMAND_NOT_FOUND, False
    if flag.exists():  # cancelled before there was anything to stop
        process.terminate()
    code = process.wait()
    return code, code in KILLED and _can_go_on(home, process.pid, kills)


def _can_go_on(home: Path, pid: int, kills: set[tuple[Path, str]]) -> bool:
    """Say whether a run of a killed process can go on with less memory.

    A kill that led to a start already is none again: whoever is killed without coming as far as the
    last time would be killed for ever.

    Args:
        home: The project's ``.llmwright`` folder.
        pid: Of the process.
        kills: Marks of the kills that led to a start; a new one is added.
    """
    rows = [row for row in Index(home).runs() if row.pid == pid and row.status == "lost"]
    # A search keeps the folders of its trials below its own.
    marks = [mark for row in rows for mark in run_folder(home, row.id).rglob(KILLS)]
    known = {(m, m.read_text(encoding="utf-8")) for m in marks if killed_for_memory(m.parent)}
    new = known - kills
    kills |= new
    return bool(new)


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
