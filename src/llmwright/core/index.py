"""The project's index in SQLite: runs, what they read and made, and detached jobs."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from llmwright.core import files

Status = Literal["running", "finished", "failed", "stopped", "lost"]

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
"""


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
        with files.disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                connection.executescript(_SCHEMA)
                yield connection
        finally:
            connection.close()

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        if not self.path.is_file():
            return []
        with self._connect() as connection:
            return connection.execute(query, values).fetchall()

    def save_run(self, row: RunRow, inputs: dict[str, str]) -> None:
        """Insert or replace a run and what it reads (field → artifact id)."""
        body = {
            **row.__dict__,
            "config": json.dumps(row.config, ensure_ascii=False),
            "versions": json.dumps(row.versions),
            "error": _json_or_none(row.error),
        }
        names = ", ".join(body)
        marks = ", ".join(f":{name}" for name in body)
        with self._connect() as connection:
            connection.execute(f"INSERT OR REPLACE INTO runs ({names}) VALUES ({marks})", body)
            connection.executemany(
                "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?)",
                [(row.id, name, identity) for name, identity in inputs.items()],
            )

    def finish_run(
        self, run: str, status: Status, artifact: str | None, error: dict[str, str] | None = None
    ) -> None:
        """Write how a run ended."""
        with self._connect() as connection:
            connection.execute(
                "UPDATE runs SET status=?, finished=?, used=?, artifact=?, error=? WHERE id=?",
                (status, time.time(), time.time(), artifact, _json_or_none(error), run),
            )

    def use_run(self, run: str) -> None:
        """Note that a finished run's result was taken again: it counts as the newest."""
        with self._connect() as connection:
            connection.execute("UPDATE runs SET used=? WHERE id=?", (time.time(), run))

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

    def save_job(self, row: JobRow) -> None:
        """Insert or replace a job."""
        body = {**row.__dict__, "argv": json.dumps(row.argv)}
        marks = ", ".join(f":{name}" for name in body)
        with self._connect() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO jobs ({', '.join(body)}) VALUES ({marks})", body
            )

    def jobs(self) -> list[JobRow]:
        """Return all jobs, newest first."""
        rows = self._read("SELECT * FROM jobs ORDER BY started DESC")
        return [_job_row(row) for row in rows]


def _json_or_none(value: dict[str, str] | None) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


def _seen_status(row: sqlite3.Row) -> Status:
    lost = row["status"] == "running" and not is_alive(row["pid"], row["pid_started"])
    status: Status = "lost" if lost else row["status"]
    return status


def _run_row(row: sqlite3.Row) -> RunRow:
    body = dict(row)
    for name in ("config", "versions", "error"):
        body[name] = json.loads(body[name]) if body[name] else None
    return RunRow(**{**body, "status": _seen_status(row)})


def _job_row(row: sqlite3.Row) -> JobRow:
    return JobRow(**{**dict(row), "argv": json.loads(row["argv"]), "status": _seen_status(row)})
