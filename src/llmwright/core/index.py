"""The project's index in SQLite: runs, what they read and made, and detached jobs."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import psutil

from llmwright.core import files
from llmwright.core.errors import ConfigError, ResourceError

Status = Literal["running", "finished", "failed", "stopped", "lost"]

BUSY_SECONDS = 30

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, operation TEXT NOT NULL, step TEXT NOT NULL, status TEXT NOT NULL,
    fingerprint TEXT NOT NULL, config TEXT NOT NULL, versions TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started REAL NOT NULL, finished REAL, used REAL NOT NULL, artifact TEXT, error TEXT
);
CREATE TABLE IF NOT EXISTS inputs (
    run TEXT NOT NULL REFERENCES runs(id), field TEXT NOT NULL, artifact TEXT NOT NULL,
    PRIMARY KEY (run, field)
);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, argv TEXT NOT NULL, pid INTEGER NOT NULL, pid_started TEXT NOT NULL,
    status TEXT NOT NULL, exit_code INTEGER, started REAL NOT NULL, finished REAL
);
CREATE INDEX IF NOT EXISTS runs_by_fingerprint ON runs(fingerprint);
""".strip().split(";\n")


@dataclass(frozen=True)
class RunRow:
    """One run as the index knows it; a ``running`` one whose lock is free reads as ``lost``.

    The process that executes a run holds a lock on a file in its folder, so that its end is seen
    from other containers and machines too, where its ``pid`` means nothing.
    """

    id: str
    operation: str
    step: str
    status: Status
    fingerprint: str
    config: dict[str, Any]
    versions: dict[str, str]
    pid: int
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
    pid_started: str
    status: Status
    exit_code: int | None
    started: float
    finished: float | None


def process_started(pid: int) -> str | None:
    """Return a mark of a live process that no other has, on any machine; None when it is gone.

    It does not follow the clock: on Linux it is the ticks since the machine's start, with the id of
    that start and of the namespace in which the number means this process.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if sys.platform != "linux":
            return f"{process.create_time():.2f}"
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (psutil.Error, OSError):
        return None
    # The name in brackets may hold anything; after it start the fields from the third on.
    ticks = stat.rpartition(")")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')} {ticks}"


def is_alive(pid: int, started: str) -> bool:
    """Say whether this very process still runs here."""
    return process_started(pid) == started


def run_folder(home: Path, run: str) -> Path:
    """Return a run's own folder below ``.llmwright``."""
    return home / "runs" / run


class Index:
    """Rows of runs, inputs and jobs; each call is one short transaction.

    Args:
        root: The project's ``.llmwright`` folder.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "index.sqlite"
        # Locks of the runs that this process executes.
        self._held: dict[str, IO[bytes]] = {}

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
        held: IO[bytes] | None = None
        try:
            with self._transaction() as connection:
                unfinished = self._unfinished(connection, row) if resume else None
                row = replace(row, id=unfinished or row.id)
                # Before the row can be seen: who reads it must not take it for left over.
                held = files.hold(self._lock_of(row.id))
                if held is None:
                    raise ConfigError("CORE-061", run=row.id, pid=row.pid)
                self._insert(connection, row, inputs)
        except BaseException:
            if held is not None:
                held.close()
            raise
        self._held[row.id] = held
        return row, unfinished is not None

    def _unfinished(self, connection: sqlite3.Connection, row: RunRow) -> str | None:
        """Return the last unfinished run that does the same; none of them may be running."""
        query = "SELECT * FROM runs WHERE fingerprint=? ORDER BY used DESC"
        found = [self._run_row(r) for r in connection.execute(query, (row.fingerprint,))]
        for earlier in found:
            if earlier.status == "running":
                raise ConfigError("CORE-061", run=earlier.id, pid=earlier.pid)
        return next((earlier.id for earlier in found if earlier.status != "finished"), None)

    def _lock_of(self, run: str) -> Path:
        return run_folder(self.path.parent, run) / "lock"

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
            if run in self._held:
                self._held.pop(run).close()

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
        return [self._run_row(row) for row in rows]

    def _run_row(self, row: sqlite3.Row) -> RunRow:
        body = {name: row[name] for name in RunRow.__dataclass_fields__}
        for name in ("config", "versions", "error"):
            body[name] = json.loads(body[name]) if body[name] else None
        if body["status"] == "running" and not files.is_held(self._lock_of(row["id"])):
            body["status"] = "lost"
        return RunRow(**body)

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


def _job_row(row: sqlite3.Row) -> JobRow:
    body = {**dict(row), "argv": json.loads(row["argv"])}
    if row["status"] == "running" and not is_alive(row["pid"], row["pid_started"]):
        body["status"] = "lost"
    return JobRow(**body)
