"""One thing at a time is written to the disk while training goes on."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

Release = Callable[[], None]
# How much less the writer asks of the processor than training, once nobody waits for it.
NICER = 10


class Writer:
    """Does work in a thread of its own; at most one piece is under way.

    Writing and copying leave Python's lock alone, so a thread is enough.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._released = threading.Event()
        self._released.set()

    def start(self, work: Callable[[Release], None]) -> None:
        """Begin a piece of work, once the one before is done.

        Args:
            work: Calls what it is given as soon as it needs no more of what training changes.

        Raises:
            Exception: What went wrong in the work before.
        """
        self.finish()
        self._released.clear()
        thread = threading.Thread(target=self._do, args=(work,), name="checkpoint")
        try:
            thread.start()
        except RuntimeError:  # no memory for another thread: then training waits
            self._do(work)
        else:
            self._thread = thread

    def _do(self, work: Callable[[Release], None]) -> None:
        try:
            work(self._release)
        except BaseException as error:  # handed on to the thread that trains
            self._error = error
        finally:
            self._released.set()

    def _release(self) -> None:
        beside = threading.current_thread() is not threading.main_thread()
        if beside and not self._released.is_set() and sys.platform == "linux":
            own = threading.get_native_id()
            niceness = min(19, os.getpriority(os.PRIO_PROCESS, own) + NICER)
            os.setpriority(os.PRIO_PROCESS, own, niceness)
        self._released.set()

    def hold(self) -> None:
        """Wait until the work under way lets what training changes be changed."""
        self._released.wait()

    def check(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            Exception: What went wrong in the work before.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self, check: bool = True) -> None:
        """Wait for the work under way.

        Args:
            check: Whether to raise what went wrong, rather than to forget it.

        Raises:
            Exception: What went wrong.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if check:
            self.check()
        self._error = None
