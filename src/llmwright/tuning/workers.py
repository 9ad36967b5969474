"""Who performs trials: this very process, or several others at the same time."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol, Self

from llmwright.core.errors import ResourceError
from llmwright.core.events import Emit
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.tuning.trial import Assignment, Outcome, perform

POLL_SECONDS = 0.2
# What a trial may take to write its checkpoint once it was asked to stop.
STOP_SECONDS = 60.0

# Takes the trial's number, the evaluation's and its value; says whether to end the trial.
JudgeTrial = Callable[[int, int, float], bool]


class Workers(Protocol):
    """Perform trials, as many at the same time as they can."""

    @property
    def num_busy(self) -> int:
        """How many trials are under way."""

    def start(self, work: Assignment) -> None:
        """Take a trial on."""

    def wait(self) -> tuple[int, Outcome]:
        """Return the number and the outcome of a trial that ended.

        Raises:
            StoppedError: The user asked to stop; what can be kept of the trials is.
            ResourceError: The disk is full or cannot be written.
        """


class Inline:
    """One trial after the other, in this process.

    Args:
        emit: Receives the events of each training.
        judge: Is asked after each evaluation.
    """

    def __init__(self, emit: Emit, judge: JudgeTrial) -> None:
        self._emit, self._judge = emit, judge
        self._next: Assignment | None = None

    @property
    def num_busy(self) -> int:
        """How many trials are under way."""
        return int(self._next is not None)

    def start(self, work: Assignment) -> None:
        """Take a trial on."""
        self._next = work

    def wait(self) -> tuple[int, Outcome]:
        """Perform the trial."""
        assert self._next is not None, "nothing was started"
        work, self._next = self._next, None
        judge = self._judge
        return work.number, perform(work, self._emit, lambda s, v: judge(work.number, s, v))


class _Worker:
    """One process, its log, and the thread that reads what it says."""

    def __init__(self, name: int, run: Run, said: queue.Queue[tuple[_Worker, Any]]) -> None:
        self.work: Assignment | None = None
        log = run.folder / f"worker-{name}.log"
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llmwright.tuning.worker", str(run.root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                encoding="utf-8",
            )
        self.log = log
        assert self.process.stdout is not None
        pipe = self.process.stdout
        self._reader = threading.Thread(target=self._read, args=[pipe, said], daemon=True)
        self._reader.start()

    def _read(self, lines: IO[str], said: queue.Queue[tuple[_Worker, Any]]) -> None:
        for line in lines:
            said.put((self, json.loads(line)))
        said.put((self, None))

    def tell(self, value: Any) -> None:
        """Send an assignment or an answer; whether it arrives is seen by what comes back."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(value) + "\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            # What could not be sent to a dead process is still in the buffer.
            with contextlib.suppress(OSError):
                pipe.close()


class Pool:
    """Several processes, each with a trial of its own; ended with this block.

    Args:
        size: How many.
        run: Its folder takes their logs; says whether to stop.
        judge: Is asked after each evaluation.
    """

    def __init__(self, size: int, run: Run, judge: JudgeTrial) -> None:
        self._size, self._run, self._judge = size, run, judge
        self._workers: list[_Worker] = []
        self._said: queue.Queue[tuple[_Worker, Any]] = queue.Queue()

    def __enter__(self) -> Self:
        """Return itself; processes are started when they are needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()

    @property
    def num_busy(self) -> int:
        """How many trials are under way."""
        return sum(worker.work is not None for worker in self._workers)

    def start(self, work: Assignment) -> None:
        """Give a trial to a process that has none."""
        free = [worker for worker in self._workers if worker.work is None]
        if not free:
            assert len(self._workers) < self._size, "all processes are busy"
            free = [_Worker(len(self._workers), self._run, self._said)]
            self._workers += free
        free[0].work = work
        free[0].tell(dataclasses.asdict(work))

    def wait(self) -> tuple[int, Outcome]:
        """Answer what the processes ask until one of them is done."""
        for worker, said in self._messages():
            if worker.work is None:
                continue
            number = worker.work.number
            if said is None:
                return number, self._died(worker)
            if "step" in said:
                worker.tell(self._judge(number, said["step"], float(said["value"])))
            elif "outcome" in said:
                worker.work = None
                return number, Outcome(**said["outcome"])
            elif "error" in said:
                raise ResourceError(said["error"], **said["values"])
        raise self._run.stop()

    def _messages(self) -> Iterator[tuple[_Worker, Any]]:
        """Yield who said what, until the user wants to stop."""
        while not self._run.should_stop():
            with contextlib.suppress(queue.Empty):
                yield self._said.get(timeout=POLL_SECONDS)
        self._stop()

    def _stop(self) -> None:
        """Let the trials write their checkpoints."""
        busy = [worker for worker in self._workers if worker.work is not None]
        for worker in busy:
            with contextlib.suppress(OSError):
                worker.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while busy and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                worker, said = self._said.get(timeout=POLL_SECONDS)
                if said is not None and "step" in said:
                    worker.tell(False)
                else:
                    busy = [other for other in busy if other is not worker]

    def _died(self, worker: _Worker) -> Outcome:
        """Forget a process that ended by itself, as one does that takes too much memory."""
        code = worker.process.wait()
        worker.end()
        self._workers.remove(worker)
        return Outcome("failed", 0.0, error=text("tuning.died", code=code, log=worker.log))
