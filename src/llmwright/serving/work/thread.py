"""The one thread that all calls of a model come from.

Libraries keep a pool of helpers for each thread that calls them: from two threads, two pools get in
each other's way (llama.cpp on 2 cores then writes a sixth slower).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class ModelThread:
    """A thread that does one piece of work after another, until it is told to end."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]
        self._work = queue.SimpleQueue()
        # A daemon: a model that is stuck must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="llmwright-model", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue a piece of work and return its result to come."""
        future: Future[T] = Future()
        self._work.put((work, future))
        return future

    def end(self) -> None:
        """End the thread once all work that was submitted is done."""
        self._work.put(None)

    def lives(self) -> bool:
        """Say whether the thread has not ended: it works, waits, or is stuck."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # whoever waits for the result decides
                future.set_exception(error)
            # Whoever holds the result must not be kept by this loop.
            del item, work, future
