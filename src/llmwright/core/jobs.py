"""Detached jobs: a command that outlives the terminal, with a supervisor of its own.

``start`` launches ``python -m llmwright.core.jobs FOLDER ID`` in a new session; that supervisor
runs the command with its output in a file, waits, and writes the exit code to the index. Any
later process finds the job again by pid and start time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from llmwright.core import files
from llmwright.core.errors import InputError, closest
from llmwright.core.index import Index, JobRow, Status, is_alive, process_started

POLL_SECONDS = 0.2


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
    row = JobRow(
        job,
        argv,
        process.pid,
        process_started(process.pid) or time.time(),
        "running",
        None,
        time.time(),
        None,
    )
    # The supervisor writes the same row; whoever comes first, the end is written by it alone.
    known = [r for r in Index(home).jobs() if r.id == job]
    if not known:
        Index(home).save_job(row)
    return known[0] if known else row


def find(home: Path, identity: str) -> JobRow:
    """Return the job whose id is, or begins with, ``identity``.

    Raises:
        InputError: None or several are (``CORE-080``).
    """
    jobs = Index(home).jobs()
    found = [row for row in jobs if row.id == identity or row.id.startswith(identity)]
    if len(found) != 1:
        hint = closest(identity, (row.id for row in jobs))
        raise InputError("CORE-080", identity=identity, count=len(found), hint=hint)
    return found[0]


def cancel(home: Path, row: JobRow, timeout_seconds: float = 30.0) -> JobRow:
    """Ask a job to stop, so that it saves its state; end it when it does not in time."""
    if row.status == "running":
        for process in _family(row):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        deadline = time.monotonic() + timeout_seconds
        while is_alive(row.pid, row.pid_started) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for process in _family(row):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    return find(home, row.id)


def _family(row: JobRow) -> list[psutil.Process]:
    """Return the supervised processes of a job; the supervisor ends by itself after them."""
    if not is_alive(row.pid, row.pid_started):
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(row.pid).children()
    return []


def tail(home: Path, row: JobRow, follow: bool = True) -> Iterator[str]:
    """Yield the job's output from its beginning, and what comes until it ends."""
    path = folder_of(home, row.id) / "output.log"
    with path.open(encoding="utf-8", errors="replace") as file:
        while True:
            ended = not is_alive(row.pid, row.pid_started)
            chunk = file.read()
            if chunk:
                yield chunk
            elif ended or not follow:
                return
            else:
                time.sleep(POLL_SECONDS)


def supervise(home: Path, job: str, cwd: Path, argv: list[str]) -> int:
    """Run the command, wait for it and record how it ended; the supervisor's main function."""
    index = Index(home)
    pid = os.getpid()
    now = time.time()
    row = JobRow(job, argv, pid, process_started(pid) or now, "running", None, now, None)
    index.save_job(row)
    code = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, check=False).returncode
    # A negative code is the signal that ended the command.
    status: Status = "finished" if code == 0 else "stopped" if code in (-15, -2) else "failed"
    index.save_job(replace(row, status=status, exit_code=code, finished=time.time()))
    return 0


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
