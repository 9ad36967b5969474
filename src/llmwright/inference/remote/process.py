"""A server that is started for us alone and ends with us, whatever ends us."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import httpx
import psutil

from llmwright.core import files
from llmwright.core.errors import ResourceError
from llmwright.core.events import Emit, Progress

# Runs a command until it ends or nobody holds the other end of the standard input any more: the
# system closes that also for a process that was killed.
WATCH = """
import subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def watch():
    sys.stdin.buffer.read()
    child.terminate()
threading.Thread(target=watch, daemon=True).start()
sys.exit(child.wait())
"""
POLL_SECONDS = 0.25
CLOSE_SECONDS = 15.0
NUM_SHOWN_LINES = 8
LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """One server in a process of its own.

    Args:
        name: What it is called in progress and errors.
        python: Interpreter that watches over it.
        command: Starts it.
        variables: All its environment variables.
        log: Where its output goes.
    """

    def __init__(
        self,
        name: str,
        python: Path,
        command: Sequence[str],
        variables: Mapping[str, str],
        log: Path,
    ) -> None:
        self._name, self._log = name, log
        with files.disk_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            output: IO[bytes] = log.open("wb")
        with output:
            self._process = subprocess.Popen(
                [str(python), "-c", WATCH, *command],
                env=dict(variables),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self, url: str, limit_seconds: float, emit: Emit) -> None:
        """Wait until an address answers 200.

        Args:
            url: Asked again and again.
            limit_seconds: After which it is given up.
            emit: Receives progress.

        Raises:
            ResourceError: The server ended, or did not answer in time (``INFER-057``).
        """
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < limit_seconds:
            self.check()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url, trust_env=False, timeout=5).status_code == httpx.codes.OK:
                    return
            emit(Progress(f"start {self._name}", int(seconds), None, "s"))
            time.sleep(POLL_SECONDS)
        self.close()
        raise self._ended()

    def check(self, patience_seconds: float = 0) -> None:
        """See to it that the server still runs.

        Args:
            patience_seconds: How long it may take to end, once it does not answer any more.

        Raises:
            ResourceError: It does not (``INFER-057``).
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_seconds)
            self.close()
            raise self._ended()

    def _ended(self) -> ResourceError:
        said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        reason = " / ".join(line.strip() for line in said[-NUM_SHOWN_LINES:] if line.strip())
        return ResourceError("INFER-057", name=self._name, reason=reason or "-", path=self._log)

    def close(self) -> None:
        """End the server and all it has started; may be called twice."""
        assert self._process.stdin is not None
        if self._process.poll() is not None:
            self._process.stdin.close()
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(self._process.pid).children(recursive=True)
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_SECONDS)
            for left in psutil.wait_procs(started, timeout=1)[1]:
                left.kill()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
