"""The project's index in SQLite: runs, what they read and made, and detached jobs."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil

from llmwright.core import files
from llmwright.core.errors import ConfigError, ResourceError

Status = Literal["running", "finished", "failed", "stopped", "lost"]

BUSY_SECONDS = 30
# Runs that this very process is executing; a "running" row of ours that is not here was left over.
_ACTIVE: set[str] = set()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, operation TEXT NOT NULL, step TEXT NOT NULL, status TEXT NOT NULL,
    fingerprint TEXT NOT NULL, config TEXT NOT NULL, versions TEXT NOT NULL,
    pid INTEGER NOT NULL, pid_started REAL NOT NULL,
    started REAL NOT NULL, finished REAL, used REAL NOT NULL, artifact TEXT, error TEXT
);
CREATE TABLE IF NOT EXISTS inputs (
    run TEXT NOT NULL REFERENCES runs(id), field TEXT NOT NULL, artifact TEXT NOT NULL,
    PRIMARY KEY (run, field)
);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, argv TEXT NOT NULL, pid INTEGER NOT NULL, pid_started REAL NOT NULL,
    status TEXT NOT NULL, exit_code INTEGER, started REAL NOT NULL, finished REAL
);
CREATE INDEX IF NOT EXISTS runs_by_fingerprint ON runs(fingerprint);
""".strip().split(";\n")


@dataclass(frozen=True)
class RunRow:
    """One run as the index knows it; a ``running`` one whose process is gone reads as ``lost``."""

    id: str
    operation: str
    step: str
    status: Status
    fingerprint: str
    config: dict[str, Any]
    versions: dict[str, str]
    pid: int
    pid_started: float
    started: float
    finished: float | None
    used: float
    artifact: str | None
    error: dict[str, str] | None


@dataclass(frozen=True)
class JobRow:
    """One detached job; a ``running`` one whose supervisor is gone reads as ``lost``."""

    id: str
    argv: list[str]
    pid: int
    pid_started: float
    status: Status
    exit_code: int | None
    started: float
    finished: float | None


def process_started(pid: int) -> float | None:
    """Return when a live process started, in seconds since 1970; None when it is gone."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def is_alive(pid: int, started: float) -> bool:
    """Say whether this very process still runs: a reused pid has another start time."""
    now = process_started(pid)
    return now is not None and abs(now - started) < 1.0


class Index:
    """Rows of runs, inputs and jobs; each call is one short transaction.

    Args:
        root: The project's ``.llmwright`` folder.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "index.sqlite"

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with files.disk_errors(self.path), _index_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            with contextlib.closing(connection):
                yield connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that alone may write, so that looking and deciding is one step."""
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            yield connection
            # What is not committed when an error passes here is rolled back by closing.
            connection.execute("COMMIT")

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        if not self.path.is_file():
            return []
        with self._connect() as connection:
            # The file exists before its tables do.
            if not connection.execute("SELECT name FROM sqlite_master").fetchall():
                return []
            return connection.execute(query, values).fetchall()

    def begin_run(
        self, row: RunRow, inputs: dict[str, str], resume: bool = True
    ) -> tuple[RunRow, bool]:
        """Insert a run and what it reads (field → artifact id), in one step with looking around.

        Args:
            row: The new run.
            inputs: What it reads.
            resume: Whether an unfinished run with the same fingerprint is continued under its id,
                and a running one refused.

        Returns:
            The row as it stands now, and whether it continues an earlier run.

        Raises:
            ConfigError: A live process is doing the same work (``CORE-061``).
        """
        resumed = False
        with self._transaction() as connection:
            query = "SELECT * FROM runs WHERE fingerprint=? ORDER BY used DESC"
            found = connection.execute(query, (row.fingerprint,)).fetchall() if resume else []
            for earlier in map(_run_row, found):
                if earlier.status == "running":
                    raise ConfigError("CORE-061", run=earlier.id, pid=earlier.pid)
            unfinished = [e["id"] for e in found if e["status"] != "finished"]
            if unfinished:
                row, resumed = replace(row, id=unfinished[0]), True
            # Before the row can be seen: a thread that reads it must not take it for left over.
            _ACTIVE.add(row.id)
            self._insert(connection, row, inputs)
        return row, resumed

    def _insert(self, connection: sqlite3.Connection, row: RunRow, inputs: dict[str, str]) -> None:
        body = {
            **row.__dict__,
            "config": json.dumps(row.config, ensure_ascii=False),
            "versions": json.dumps(row.versions),
            "error": _json_or_none(row.error),
            "used": _now(connection),
        }
        names, marks = ", ".join(body), ", ".join(f":{name}" for name in body)
        connection.execute(f"INSERT OR REPLACE INTO runs ({names}) VALUES ({marks})", body)
        connection.executemany(
            "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?)",
            [(row.id, name, identity) for name, identity in inputs.items()],
        )

    def finish_run(
        self, run: str, status: Status, artifact: str | None, error: dict[str, str] | None = None
    ) -> None:
        """Write how a run ended."""
        try:
            with self._transaction() as connection:
                connection.execute(
                    "UPDATE runs SET status=?, finished=?, used=?, artifact=?, error=? WHERE id=?",
                    (status, time.time(), _now(connection), artifact, _json_or_none(error), run),
                )
        finally:
            _ACTIVE.discard(run)

    def use_run(self, run: str) -> None:
        """Note that a finished run's result was taken again: it counts as the newest."""
        with self._transaction() as connection:
            connection.execute("UPDATE runs SET used=? WHERE id=?", (_now(connection), run))

    def runs(self, **equal: str) -> list[RunRow]:
        """Return runs whose columns equal what is given, the last made or reused first."""
        where = " AND ".join(f"{name}=?" for name in equal) or "1"
        rows = self._read(
            f"SELECT * FROM runs WHERE {where} ORDER BY used DESC", tuple(equal.values())
        )
        return [_run_row(row) for row in rows]

    def inputs(self, run: str) -> dict[str, str]:
        """Return field → artifact id of what a run read."""
        rows = self._read("SELECT field, artifact FROM inputs WHERE run=? ORDER BY field", (run,))
        return {row["field"]: row["artifact"] for row in rows}

    def save_job(self, row: JobRow, overwrite: bool = True) -> None:
        """Insert a job, or replace it unless the row that is there counts more."""
        body = {**row.__dict__, "argv": json.dumps(row.argv)}
        names, marks = ", ".join(body), ", ".join(f":{name}" for name in body)
        how = "REPLACE" if overwrite else "IGNORE"
        with self._transaction() as connection:
            connection.execute(f"INSERT OR {how} INTO jobs ({names}) VALUES ({marks})", body)

    def jobs(self) -> list[JobRow]:
        """Return all jobs, newest first."""
        rows = self._read("SELECT * FROM jobs ORDER BY started DESC")
        return [_job_row(row) for row in rows]


@contextlib.contextmanager
def _index_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "full" in str(error):
            raise
        raise ResourceError("CORE-022", path=path, reason=str(error)) from error


def _now(connection: sqlite3.Connection) -> float:
    """Return the time, later than every ``used`` before even where the clock was set back."""
    (newest,) = connection.execute("SELECT COALESCE(MAX(used), 0) FROM runs").fetchone()
    return max(time.time(), float(newest) + 1e-3)


def _json_or_none(value: dict[str, str] | None) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


def _seen_status(row: sqlite3.Row, active: bool = True) -> Status:
    lost = row["status"] == "running" and not (active and is_alive(row["pid"], row["pid_started"]))
    status: Status = "lost" if lost else row["status"]
    return status


def _run_row(row: sqlite3.Row) -> RunRow:
    body = dict(row)
    for name in ("config", "versions", "error"):
        body[name] = json.loads(body[name]) if body[name] else None
    active = row["pid"] != os.getpid() or row["id"] in _ACTIVE
    return RunRow(**{**body, "status": _seen_status(row, active)})


def _job_row(row: sqlite3.Row) -> JobRow:
    return JobRow(**{**dict(row), "argv": json.loads(row["argv"]), "status": _seen_status(row)})
