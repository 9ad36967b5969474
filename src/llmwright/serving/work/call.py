"""One request's work: its jobs, its deadline, and whether its client is still there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from llmwright.inference.predictor import Prediction
from llmwright.serving.door.errors import ApiError, ClientLeft, describe, language_of
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.service import Service, service_of
from llmwright.serving.work.worker import END, Job
from llmwright.serving.writing import Piece

DONE = "data: [DONE]\n\n"


def labels_of(answer: Mapping[str, Any]) -> list[str]:
    """Return the labels an answer gives to a text; tags of words are too many to count."""
    if "labels" in answer:
        return list(answer["labels"])
    return [answer["label"]] if "label" in answer else []


class Call:
    """Submits jobs; ends them when the client leaves or the time is up.

    Args:
        request: The request, its body already read.
        hosted: The model that does the work.
        jobs: Its work.

    Raises:
        ApiError: No place is left (503).
    """

    def __init__(self, request: Request, hosted: Hosted, jobs: Sequence[Job]) -> None:
        self.service: Service = service_of(request)
        self.metrics = hosted.metrics
        self._hosted = hosted
        self.record = request.scope["record"]
        self.record.model = hosted.name
        self.jobs = jobs
        self.last: dict[int, Piece] = {}
        self._first: tuple[int, Any] = (0, END)
        self._pumps: list[asyncio.Task[None]] = []
        self._results: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self._receive = request.receive
        # What waiting for the model to be loaded took is a part of the request's time.
        waited = time.monotonic() - self.record.arrived
        seconds = max(0.0, self.service.config.request_timeout_seconds - waited)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_out)
        self._watch = asyncio.create_task(self._watch_client())
        try:
            hosted.worker.submit(jobs)
        except ApiError:
            self.close()
            raise

    def _time_out(self) -> None:
        seconds = self.service.config.request_timeout_seconds
        self.metrics.refused("timeout")
        self._end(ApiError(504, "timeout", seconds=f"{seconds:g}"))

    async def _watch_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.record.disconnected = True
        self._end(ClientLeft())

    def _end(self, error: Exception) -> None:
        for job in self.jobs:
            job.cancel()
            job.fail(error)

    def close(self) -> None:
        """Stop watching and give back whatever place is still held."""
        self._hosted.touch()
        self._timer.cancel()
        self._watch.cancel()
        for pump in self._pumps:
            pump.cancel()
        for job in self.jobs:
            job.cancel()

    async def answers(self) -> list[Prediction]:
        """Return the answers to the rows of a single job."""
        try:
            found: list[Prediction] = await self.jobs[0].result()
        finally:
            self.close()
        for prediction in found:
            self.record.usage(prediction.num_input_tokens, 0)
            self.metrics.tokens(prediction.num_input_tokens, 0)
            self.metrics.predicted(labels_of(prediction.answer))
        return found

    async def texts(self) -> list[Piece]:
        """Return the whole text of each job; they do not stream."""
        try:
            return [await self._whole(job) for job in self.jobs]
        finally:
            self.close()

    async def _whole(self, job: Job) -> Piece:
        piece: Piece = await job.result()
        self._count(piece)
        return piece

    async def begin(self) -> None:
        """Wait for the first piece of a text.

        A stream answers only after this, so that what fails at once gets its own status code.
        """
        try:
            if len(self.jobs) > 1:
                self._pumps = [
                    asyncio.create_task(self._pump(index, job))
                    for index, job in enumerate(self.jobs)
                ]
            self._first = await self._next()
        except BaseException:
            self.close()
            raise

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Yield the pieces of the texts that have begun, each with the place of its job.

        Pieces are empty only at the end of a text.
        """
        open_texts, (index, piece) = len(self.jobs), self._first
        while True:
            if piece is END:
                open_texts -= 1
                if not open_texts:
                    return
            else:
                self.last[index] = piece
                if piece.text or piece.finish_reason:
                    yield index, piece
            index, piece = await self._next()

    async def _next(self) -> tuple[int, Any]:
        """Return the next result of any job, and its place."""
        if len(self.jobs) == 1:
            return 0, await self.jobs[0].result()
        index, result = await self._results.get()
        if isinstance(result, BaseException):
            raise result
        return index, result

    async def _pump(self, index: int, job: Job) -> None:
        """Put the results of one of several jobs where they are waited for together."""
        result: Any = None
        while result is not END:
            try:
                result = await job.result()
            except Exception as error:
                self._results.put_nowait((index, error))
                return
            self._results.put_nowait((index, result))

    def end_stream(self) -> None:
        """Count what was written and stop writing more."""
        self.close()
        for piece in self.last.values():
            self._count(piece)

    def _count(self, piece: Piece) -> None:
        self.record.usage(piece.prompt_tokens, piece.completion_tokens)
        self.record.finish_reason = piece.finish_reason
        self.metrics.tokens(piece.prompt_tokens, piece.completion_tokens)


def event(body: Any) -> str:
    """Return a server-sent event that holds JSON."""
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"


class EventStream(StreamingResponse):
    """Server-sent events about texts that have begun; a client that leaves ends the work at once.

    Args:
        events: What to send; an error it raises becomes the last event.
        call: The work behind it.
        request: The request, for the error's language.
    """

    def __init__(self, events: AsyncGenerator[str, None], call: Call, request: Request) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        self._events = events
        self._call = call
        self._language = language_of(request.headers.get("accept-language"))
        super().__init__(self._safely(), media_type="text/event-stream", headers=headers)

    async def _safely(self) -> AsyncGenerator[str, None]:
        try:
            async for item in self._events:
                yield item
        except ClientLeft:
            return
        except Exception as error:
            yield event(describe(error, self._language)[1])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await self.stream_response(send)
        except OSError:
            self._call.record.disconnected = True
        finally:
            self._call.end_stream()
