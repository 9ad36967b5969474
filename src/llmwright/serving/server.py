"""The HTTP server: the port, start and stop, signals, and what is still running when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any, cast

import psutil
import uvicorn
from fastapi import FastAPI

from llmwright.core.errors import ResourceError
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.wire import MAX_HEADER_BYTES, Wire
from llmwright.serving.work.service import Service

BACKLOG = 1024
KEEP_ALIVE_SECONDS = 30
SIGNALS = (signal.SIGINT, signal.SIGTERM)
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, before any model is loaded in vain.

    Args:
        host: Address or name of this machine.
        port: 0 takes a free one.

    Raises:
        ResourceError: The port is in use (``SERVE-002``), or the address is none of this machine
            or not allowed (``SERVE-005``).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, since asyncio sends small packets at once only where a socket says that it is;
    # else each answer waits 40 ms for the client to acknowledge the header.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ResourceError(
                "SERVE-002", where="port", host=host, port=port, owner=_owner(port)
            ) from error
        reason = error.strerror or str(error)
        raise ResourceError(
            "SERVE-005", where="host", host=host, port=port, reason=reason
        ) from error
    return listener


def _owner(port: int) -> str:
    """Return who listens on a port, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr[1] == port and connection.pid:
                return f" ({psutil.Process(connection.pid).name()}, pid {connection.pid})"
    return ""


def address_of(listener: socket.socket) -> str:
    """Return the address at which this machine reaches a socket, as ``http://127.0.0.1:8000``."""
    host, port = listener.getsockname()[:2]
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HttpServer(uvicorn.Server):
    """Runs an app until it is told to stop.

    The first Ctrl-C or SIGTERM closes the port and lets running requests finish; the second cuts
    them off. Neither is an error: `serve_until_stopped` returns.

    Args:
        app: What answers.
        config: The time that running requests get.
        on_ready: Called once requests are answered: the first model is loaded and checked.
        on_stop: Called once when stopping begins; not where that model cannot be loaded.

    Attributes:
        failure: Why that model could not be loaded.
    """

    def __init__(
        self,
        app: FastAPI,
        config: ServeConfig,
        on_ready: Callable[[], None] = lambda: None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._service: Service = app.state.service
        self._watching: asyncio.Task[None] | None = None
        self.failure: Exception | None = None
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                # Whatever else is installed: only this one knows slow clients.
                http=cast(type[asyncio.Protocol], partial(Wire, config.client_timeout_seconds)),
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(config.drain_seconds),
            )
        )
        self._on_ready = on_ready
        self._on_stop = on_stop

    def serve_until_stopped(self, listener: socket.socket) -> None:
        """Answer requests on a listening socket until a signal or `stop`.

        Raises:
            LLMwrightError: The first model cannot be loaded or does not answer as recorded.
        """
        self.run(sockets=[listener])
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Begin to stop; may be called from any thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections; health is answered before the model is loaded."""
        await super().startup(sockets)
        if self.started:
            self._watching = asyncio.create_task(self._until_ready())

    async def _until_ready(self) -> None:
        try:
            await self._service.until_started()
        except Exception as error:
            self.failure = error
            self.stop()
        else:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, then wait for running requests."""
        self._service.draining = True
        if self.failure is None:
            self._on_stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving; afterwards whoever handled them before does so again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous: dict[signal.Signals, Any] = {
            number: signal.signal(number, self.handle_exit) for number in SIGNALS
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal, cut off at the second."""
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def background(app: FastAPI, config: ServeConfig) -> Iterator[str]:
    """Serve an app from a thread of this process and yield its address; for notebooks and tests.

    Raises:
        ResourceError: As `listen`.
        LLMwrightError: The first model cannot be loaded.
    """
    ready = threading.Event()
    server = HttpServer(app, config, on_ready=ready.set)
    with listen(config.host, config.port) as listener:
        thread = threading.Thread(
            target=server.run, args=([listener],), name="llmwright-http", daemon=True
        )
        thread.start()
        try:
            _wait_for(ready, server, thread)
            yield address_of(listener)
        finally:
            server.stop()
            thread.join()


def _wait_for(ready: threading.Event, server: HttpServer, thread: threading.Thread) -> None:
    while not ready.wait(0.05):
        if server.failure is not None:
            raise server.failure
        assert thread.is_alive(), "the server thread ended before it was ready"
