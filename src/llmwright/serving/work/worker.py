"""One thread that owns the model: a bounded queue, shared batches, and texts written together.

The event loop never waits for the model. Rows to classify that wait together go through the model
as one batch. Texts are written together, one token each in a step; one that waits joins at the next
step, and a client that leaves frees its place before the next token.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, TypeVar

from llmwright.core.errors import LLMwrightError
from llmwright.data.records import Row
from llmwright.inference.writing.generation import TextWriter, Token
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import ModelMetrics
from llmwright.serving.served.model import Begun
from llmwright.serving.work.thread import ModelThread
from llmwright.serving.writing import Piece, Writing, joined

T = TypeVar("T")
END = object()
# Rows and how many may go through the model together → an answer to each.
Answer = Callable[[Sequence[Any], int], Sequence[Any]]
# Pieces of a stream that come quicker than this go out together: waking the event loop and sending
# costs more than a small model's token, and nobody reads fifty pieces a second.
PIECE_SECONDS = 0.02
LOGGER = logging.getLogger("llmwright.serving")
# Failures in a row that are no request's fault, before the engine must prove that it is sound.
MAX_FAILURES = 3


class Answerer(Protocol):
    """What the worker needs of a model."""

    def answer(self, rows: Sequence[Row], batch_size: int) -> Sequence[Any]:
        """Return one answer per row; at most ``batch_size`` go through the model together."""
        ...

    def writer(self) -> TextWriter:
        """Return what writes texts, several at once."""
        ...

    def begin(self, row: Row, writing: Writing) -> Begun:
        """Return what a writer needs for a text."""
        ...

    def pulse(self) -> None:
        """Answer something short; raises where the engine is not sound."""
        ...


class Job:
    """A piece of work and the way its results take back to the event loop.

    Args:
        rows: What to answer; one row when a text is to be written.
        writing: How to write a text; None to answer the rows.
        streams: Whether pieces are delivered as they come, or all of them as one at the end.
        place: Position of the text among those of its prompt, which decides its random numbers.
        answer: What answers the rows; the model's `Answerer.answer` when not given.
    """

    def __init__(
        self,
        rows: Sequence[Any],
        writing: Writing | None = None,
        streams: bool = False,
        place: int = 0,
        answer: Answer | None = None,
    ) -> None:
        self.rows = rows
        self.writing = writing
        self.streams = streams
        self.place = place
        self.answer = answer
        self.parts: list[Piece] = []
        self.created = time.monotonic()
        self.cancelled = False
        self.begun: Begun | None = None
        self.tokens: deque[Token] = deque()
        self.pieces: Iterator[Piece] = iter(())
        self.last_piece: float | None = None
        self.delivered = 0.0
        self.first_token_seconds: float | None = None
        self.request: Sequence[Job] = (self,)
        self.model: Answerer | None = None
        self.forget: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._results: asyncio.Queue[Any] = asyncio.Queue()

    def deliver(self, result: Any) -> None:
        """Hand a result to the event loop; called by the worker's thread."""
        # The loop is closed only when the process ends without draining.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._results.put_nowait, result)

    def settle(self, *results: Any) -> None:
        """Give results that are known without work; called by the event loop."""
        for result in results:
            self._results.put_nowait(result)

    def fail(self, error: Exception) -> None:
        """End the wait for results with an error; called by the event loop."""
        self.settle(error)

    async def result(self) -> Any:
        """Return the next result, or `END` after the last piece of a text.

        Raises:
            ApiError, LLMwrightError: Whatever went wrong with the work.
        """
        result = await self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def cancel(self) -> None:
        """Give the place in the queue or the slot back."""
        if not self.cancelled:
            self.cancelled = True
            self.forget()


class Worker:
    """The model's thread.

    Args:
        model: What answers.
        config: Limits.
        metrics: Where waits, tokens and batches are counted.
        thread: The model's; one of its own when not given.
    """

    def __init__(
        self,
        model: Answerer,
        config: ServeConfig,
        metrics: ModelMetrics,
        thread: ModelThread | None = None,
    ) -> None:
        self._model = model
        self._config = config
        self._metrics = metrics
        self._waiting: deque[Job] = deque()
        self._writing: dict[int, Job] = {}
        self._batch: list[Job] = []
        self._new: list[Job] = []
        self._numbers = itertools.count()
        self._wake = threading.Condition()
        self._closing = False
        self._busy_since: float | None = None
        self._spare: Callable[[], bool] | None = None
        self._chores: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._failures = 0
        self._broken = False
        self._seconds_per_job = 0.1
        self._thread = thread or ModelThread()
        self._running: Future[None] | None = None

    def start(self, spare: Callable[[], bool] | None = None) -> None:
        """Begin to work.

        Args:
            spare: What to do in idle moments, a short piece at a time, until it returns False.
        """
        self._spare = spare
        self._running = self._thread.submit(self._run)

    def close(self, error: ApiError) -> None:
        """End all work with an error and let the thread go, as soon as its step is done."""
        with self._wake:
            self._closing = True
            left = [*self._waiting, *self._new, *self._writing.values(), *self._batch]
            chores = list(self._chores)
            self._waiting.clear()
            self._chores.clear()
            self._wake.notify()
        for job in left:
            job.cancelled = True
            job.deliver(error)
        for _, future in chores:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def do(self, work: Callable[[], T]) -> Future[T]:
        """Do something with the model between two steps and return its result to come."""
        future: Future[T] = Future()
        with self._wake:
            if self._closing:
                raise ApiError(503, "shutting_down")
            self._chores.append((work, future))
            self._wake.notify()
        return future

    def submit(self, jobs: Sequence[Job], model: Answerer | None = None) -> None:
        """Queue the jobs of one request, which together take one place.

        Args:
            jobs: The work.
            model: What answers it, where it is an adapter over the model of this thread.

        Raises:
            ApiError: No place is left, or the server is stopping (503).
        """
        with self._wake:
            if self._closing:
                raise ApiError(503, "shutting_down")
            held = [*self._waiting, *self._new, *self._writing.values(), *self._batch]
            ahead = len({id(job.request) for job in held})
            if ahead >= self._config.max_concurrency + self._config.max_queue:
                self._metrics.refused("queue_full")
                wait = math.ceil(len(held) * self._seconds_per_job)
                headers = {"retry-after": str(min(60, max(1, wait)))}
                raise ApiError(503, "queue_full", headers=headers, waiting=ahead)
            for job in jobs:
                job.request, job.model = jobs, model or self._model
                job.forget = partial(self._forget, job)
            self._waiting.extend(jobs)
            self._metrics.queue_depth.set(len(self._waiting))
            self._wake.notify()

    def heartbeat_age(self) -> float:
        """Return for how many seconds the model has been busy with one step; 0 when idle."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def num_held(self) -> int:
        """Return how many jobs wait or are at work."""
        with self._wake:
            held = (self._waiting, self._new, self._writing, self._batch, self._chores)
            return sum(len(jobs) for jobs in held)

    def trouble(self) -> str | None:
        """Return what is wrong: the thread ``died``, is ``hung`` in a step, or answers nothing.

        The last is ``broken``: several requests in a row failed, and so did a short known one.
        """
        if self._running is None or self._running.done():
            return "died"
        if self.heartbeat_age() > self._config.hang_seconds:
            return "hung"
        return "broken" if self._broken else None

    def _forget(self, job: Job) -> None:
        with self._wake, contextlib.suppress(ValueError):
            self._waiting.remove(job)
            self._metrics.queue_depth.set(len(self._waiting))

    def _run(self) -> None:
        writer = self._model.writer()
        while self._admit():
            self._busy_since = time.monotonic()
            idle = not (self._batch or self._new or self._writing or self._chores)
            self._do_chores()
            if self._batch:
                # Only jobs that want the same of the model share a batch.
                for answer in dict.fromkeys(_answer_of(job) for job in self._batch):
                    self._answer([job for job in self._batch if _answer_of(job) == answer], answer)
                self._batch = []
                self._busy_since = time.monotonic()
            try:
                self._begin(writer)
                self._write(writer)
            except Exception as error:
                # What the engine does for all of them at once failed for all of them.
                for number in list(self._writing):
                    self._leave(number).deliver(error)
                writer.close()
                self._failed(error)
            if idle:
                self._use_spare_moment()
            self._busy_since = None
        writer.close()

    def _admit(self) -> bool:
        """Wait for work and take what may begin; False when the server stops."""
        with self._wake:
            while not (self._waiting or self._writing or self._closing):
                if self._chores or self._spare:
                    break
                self._wake.wait()
            if self._closing:
                return False
            room = self._config.max_batch
            places = self._config.max_concurrency - len(self._writing)
            later: deque[Job] = deque()
            while self._waiting:
                job = self._waiting.popleft()
                if job.writing is not None and len(self._new) < places:
                    self._new.append(job)
                elif job.writing is None and (not self._batch or len(job.rows) <= room):
                    self._batch.append(job)
                    room -= len(job.rows)
                else:
                    later.append(job)
                    continue
                # One that had begun before waits for room, and was counted then.
                if job.begun is None:
                    self._metrics.queue_wait.observe(time.monotonic() - job.created)
            self._waiting = later
            self._metrics.queue_depth.set(len(later))
        return True

    def _do_chores(self) -> None:
        while self._chores:
            with self._wake:
                work, future = self._chores.popleft() if self._chores else (None, None)
            if work is None or future is None or not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except Exception as error:  # whoever waits for the result decides
                future.set_exception(error)

    def _use_spare_moment(self) -> None:
        """Do one piece of what is done beside requests; one that comes waits for no more."""
        if self._spare is None:
            return
        try:
            more = self._spare()
        except Exception:
            LOGGER.exception("Work in an idle moment failed")
            more = False
        if not more:
            self._spare = None

    def _failed(self, error: Exception) -> None:
        """Note a failure; after several in a row find out whether the engine still answers."""
        if isinstance(error, ApiError | LLMwrightError):
            return
        self._failures += 1
        if self._failures < MAX_FAILURES:
            return
        self._failures = 0
        try:
            self._model.pulse()
        except (ApiError, LLMwrightError):
            return
        except Exception:
            LOGGER.exception("The engine does not answer any more")
            self._broken = True

    def _begin(self, writer: TextWriter) -> None:
        """Let the writer read the prompts of new texts, all together; one without room waits."""
        begun: dict[int, Job] = {}
        texts: list[Begun] = []
        waiting: list[Job] = []
        for job in self._new:
            text = None if job.cancelled else self._text_of(job)
            if text is None:
                continue
            more = [*texts, text]
            if not writer.has_room([t.prompt_T for t in more], [t.settings for t in more]):
                waiting.append(job)
                continue
            job.pieces = text.speak(iter(job.tokens.popleft, None))
            begun[next(self._numbers)] = job
            texts = more
        with self._wake:
            self._new = []
            self._waiting.extendleft(reversed(waiting))
            self._writing |= begun
        if begun:
            places = [job.place for job in begun.values()]
            self._add(writer, begun, texts, places)

    def _text_of(self, job: Job) -> Begun | None:
        """Return what a writer needs for a job; None where that fails, which its client is told."""
        if job.begun is None:
            assert job.writing is not None
            try:
                job.begun = (job.model or self._model).begin(job.rows[0], job.writing)
            except Exception as error:
                job.deliver(error)
        return job.begun

    def _add(
        self, writer: TextWriter, begun: dict[int, Job], texts: list[Begun], places: list[int]
    ) -> None:
        """Add texts to those being written; what is refused harms no other text."""
        prompts, settings = [t.prompt_T for t in texts], [t.settings for t in texts]
        try:
            writer.add(list(begun), prompts, settings, places)
        except LLMwrightError as error:
            if len(begun) == 1:
                (number,) = begun
                self._leave(number).deliver(error)
                return
            for (number, job), text, place in zip(begun.items(), texts, places, strict=True):
                self._add(writer, {number: job}, [text], [place])

    def _write(self, writer: TextWriter) -> None:
        """Write one more token of each text."""
        for number, job in list(self._writing.items()):
            if job.cancelled:
                writer.drop(self._left(number))
        for token in writer.step():
            # One whose client left may still have had its turn.
            held = self._writing.get(token.row)
            if held is not None and not self._hand_on(held, token):
                writer.drop(self._left(token.row))

    def _answer(self, jobs: list[Job], answer: Answer) -> None:
        """Answer the rows of several requests together; a bad one must not harm the others."""
        jobs = [job for job in jobs if not job.cancelled]
        rows = [row for job in jobs for row in job.rows]
        if not rows:
            return
        started = time.monotonic()
        try:
            answers = answer(rows, self._config.max_batch)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].deliver(error)
                self._failed(error)
                return
            for job in jobs:
                self._answer([job], answer)
            return
        self._failures = 0
        self._metrics.batch_rows.observe(len(rows))
        self._learn_pace((time.monotonic() - started) / len(jobs))
        position = 0
        for job in jobs:
            job.deliver(answers[position : position + len(job.rows)])
            position += len(job.rows)

    def _hand_on(self, job: Job, token: Token) -> bool:
        """Give what a token adds to its client; say whether the text goes on."""
        job.tokens.append(token)
        try:
            piece = next(job.pieces)
        except Exception as error:
            job.deliver(error)
            return False
        now = time.monotonic()
        if job.last_piece is None:
            job.first_token_seconds = now - job.created
            self._metrics.first_token.observe(job.first_token_seconds)
        else:
            self._metrics.between_tokens.observe(now - job.last_piece)
        job.last_piece = now
        ends = piece.finish_reason is not None
        job.parts.append(piece)
        due = job.streams and (now - job.delivered >= PIECE_SECONDS or piece.scores is not None)
        if ends or due:
            job.deliver(joined(job.parts))
            job.parts, job.delivered = [], now
        if ends:
            self._failures = 0
            self._learn_pace((now - job.created) / self._config.max_concurrency)
            job.deliver(END)
        return not ends

    def _leave(self, number: int) -> Job:
        """Free the slot of a text."""
        with self._wake:
            return self._writing.pop(number)

    def _left(self, number: int) -> int:
        self._leave(number)
        return number

    def _learn_pace(self, seconds: float) -> None:
        """Update the moving average that ``Retry-After`` is estimated from."""
        self._seconds_per_job += 0.1 * (seconds - self._seconds_per_job)


def _answer_of(job: Job) -> Answer:
    """Return what answers a job's rows; jobs with the same one share a batch."""
    assert job.model is not None
    return job.answer or job.model.answer
