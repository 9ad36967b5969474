"""Shared by the benchmarks of servers: start one, send requests, read streams, cheaply.

One thread with a selector reads all connections, since whatever the client takes of two cores is
taken from the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PATIENCE_SECONDS = 300.0


@dataclass
class Reply:
    """What came back for one request.

    Attributes:
        status: Of the answer's first line; 0 where the connection broke.
        first_seconds: From the first to the answer's first event or byte of its body.
        seconds: To its end.
        raw: Head and body.
    """

    status: int = 0
    first_seconds: float = 0.0
    seconds: float = 0.0
    raw: bytearray = field(default_factory=bytearray)

    def body(self) -> bytes:
        """Return the body; chunks are not put together."""
        return bytes(self.raw).partition(b"\r\n\r\n")[2]

    def events(self) -> list[Any]:
        """Return the JSON of each server-sent event."""
        lines = (line for line in self.body().split(b"\n") if line.startswith(b"data: {"))
        return [json.loads(line[6:]) for line in lines]

    def json(self) -> Any:
        """Return the body of an answer of declared length."""
        return json.loads(self.body())


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def post(path: str, body: Any) -> bytes:
    """Return a request that closes its connection."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def get(path: str) -> bytes:
    """Return a request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()


def exchange(port: int, requests: Sequence[bytes], at_once: int | None = None) -> list[Reply]:
    """Return the replies to requests, so many of them on their way at any time.

    Args:
        port: Of a server on this machine.
        requests: Whole requests that close their connections.
        at_once: How many clients there are; as many as requests when not given.
    """
    replies = [Reply() for _ in requests]
    started = [0.0] * len(requests)
    waiting = iter(range(len(requests)))
    with selectors.DefaultSelector() as selector:

        def begin() -> None:
            index = next(waiting, None)
            if index is None:
                return
            started[index] = time.perf_counter()
            connection = socket.create_connection((HOST, port))
            connection.sendall(requests[index])
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, index)

        for _ in range(at_once or len(requests)):
            begin()
        while selector.get_map():
            for key, _ in selector.select():
                index, connection = key.data, key.fileobj
                assert isinstance(connection, socket.socket)
                if not _take(connection, replies[index], started[index]):
                    selector.unregister(connection)
                    connection.close()
                    begin()
    return replies


def _take(connection: socket.socket, reply: Reply, started: float) -> bool:
    """Read what is there; say whether more may come."""
    try:
        part = connection.recv(1 << 16)
    except OSError:
        part = b""
    now = time.perf_counter() - started
    reply.seconds = now
    if not part:
        return False
    reply.raw += part
    if not reply.status:
        reply.status = int(reply.raw.split(b" ", 2)[1])
    if not reply.first_seconds and b"\r\n\r\n" in reply.raw and not reply.raw.endswith(b"\r\n\r\n"):
        reply.first_seconds = now
    return True


@contextlib.contextmanager
def running(command: Sequence[str], port: int, ready_path: str) -> Iterator[tuple[int, float]]:
    """Yield process id and seconds until a server was ready; stop it in the end.

    Args:
        command: That starts it.
        port: It listens on.
        ready_path: Answers 200 once it is ready.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w+") as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while not _answers(port, ready_path):
                log.flush()
                if process.poll() is not None or time.perf_counter() - started > PATIENCE_SECONDS:
                    text = (Path(folder) / "log").read_text(encoding="utf-8")
                    raise SystemExit(f"{' '.join(command)} is not ready:\n{text[-3000:]}")
                time.sleep(0.02)
            yield process.pid, time.perf_counter() - started
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        (reply,) = exchange(port, [get(path)])
    except OSError:
        return False
    return reply.status == 200
