"""One request's work: its jobs, its deadline, and whether its client is still there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from llmwright.inference.answers import Prediction
from llmwright.serving.cache import is_drawn
from llmwright.serving.door.errors import ApiError, ClientLeft, describe, language_of
from llmwright.serving.guards.guarding import Filter
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.service import Service, service_of
from llmwright.serving.work.worker import END, Job
from llmwright.serving.writing import Piece, joined

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
        jobs: Its work; the worker gets it when an answer is asked for.
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
        # Where the answer of each job is kept, by its place; of those that are worth it.
        self._addresses: dict[int, str] = {}
        # What waiting for the model to be loaded took is a part of the request's time.
        waited = time.monotonic() - self.record.arrived
        seconds = max(0.0, self.service.config.request_timeout_seconds - waited)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_out)
        self._watch = asyncio.create_task(self._watch_client())

    async def _submit(self) -> None:
        """Let the guards look at the prompts, then hand to the worker what no answer is kept of.

        Raises:
            ApiError: A guard refuses (400), or no place is left (503).
        """
        guards = self.service.guards
        for job in self.jobs:
            job.rows = await guards.prompts(job.rows, self.record.flags, self._text_of)
        asked = [job for place, job in enumerate(self.jobs) if not self._recall(place, job)]
        if self._addresses:
            self.record.cache = "miss" if asked else "hit"
            self.service.metrics["cache_total"].labels(self.record.cache).inc()
        if any(job.cancelled for job in asked):
            # The client left, or the time was up, meanwhile: its error is what comes next.
            return
        if asked:
            self._hosted.worker.submit(asked, self._hosted.model)

    def _text_of(self, ids: list[int]) -> str:
        """Return the text of token ids, for guards."""
        return str(self._hosted.model.predictor.tokenizer.decode(ids))

    def _recall(self, place: int, job: Job) -> bool:
        """Answer a job from what is kept; say whether that was possible."""
        cache, model = self.service.cache, self._hosted.model
        if not cache or job.answer or is_drawn(job.writing, model.contract.generation.temperature):
            return False
        key = self.record.key.id if self.record.key else ""
        digest = (model.name, model.artifact)
        self._addresses[place] = address = cache.address(
            digest, job.rows, job.writing, job.place, key
        )
        kept = cache.get(address)
        if kept is None:
            return False
        self._addresses[place] = ""
        job.settle(kept, END)
        return True

    def _keep(self, place: int, answer: Any) -> None:
        """Keep the answer of a job that was not kept yet."""
        if address := self._addresses.get(place):
            self.service.cache.put(address, answer)

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
        """Return the answers to the rows of a single job.

        Raises:
            ApiError: A guard refuses (400), no place is left (503), or the time is up (504).
        """
        try:
            await self._submit()
            found: list[Prediction] = await self.jobs[0].result()
        finally:
            self.close()
        self._keep(0, found)
        for prediction in found:
            self._count(prediction.num_input_tokens, 0)
            self.metrics.predicted(labels_of(prediction.answer))
        return found

    async def texts(self) -> list[Piece]:
        """Return the whole text of each job; they do not stream.

        Raises:
            ApiError: As `answers`.
        """
        try:
            await self._submit()
            return [await self._whole(place, job) for place, job in enumerate(self.jobs)]
        finally:
            self.close()

    async def _whole(self, place: int, job: Job) -> Piece:
        piece: Piece = await job.result()
        self._keep(place, piece)
        passed = await self._passed(self._filter(), piece)
        self._count_piece(passed, job)
        return passed

    async def begin(self) -> None:
        """Wait for the first piece of a text.

        A stream answers only after this, so that what fails at once gets its own status code.

        Raises:
            ApiError: As `answers`.
        """
        try:
            await self._submit()
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
        filters = [self._filter() for _ in self.jobs]
        kept: dict[int, list[Piece]] = {index: [] for index in self._addresses}
        waited_for = set(range(len(self.jobs)))
        index, piece = self._first
        while True:
            if piece is END and index in waited_for:
                waited_for.discard(index)
                if index in kept:
                    self._keep(index, joined(kept[index]))
            elif index in waited_for:
                if index in kept:
                    kept[index].append(piece)
                self.last[index] = passed = await self._passed(filters[index], piece)
                if passed.text or passed.finish_reason:
                    yield index, passed
                if passed.finish_reason == "content_filter":
                    self.jobs[index].cancel()
                    waited_for.discard(index)
            if not waited_for:
                return
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

    def _filter(self) -> Filter | None:
        return self.service.guards.filter("reply", self.record.flags)

    async def _passed(self, through: Filter | None, piece: Piece) -> Piece:
        """Return a piece as the guards let it pass; what they hold back comes with a later one."""
        if through is None:
            return piece
        text = await through.feed(piece.text, piece.finish_reason is not None)
        if through.blocked:
            piece = replace(piece, finish_reason="content_filter")
        if text == piece.text:
            return piece
        # Tokens and their probabilities would tell what is hidden.
        scores = None if piece.scores is None else ()
        return replace(piece, text=text, scores=scores, token_ids=())

    def end_stream(self) -> None:
        """Count what was written and stop writing more."""
        self.close()
        for index, piece in self.last.items():
            self._count_piece(piece, self.jobs[index])

    def _count_piece(self, piece: Piece, job: Job) -> None:
        self.record.finish_reason = piece.finish_reason
        self.record.first_token_seconds = job.first_token_seconds
        self._count(piece.prompt_tokens, piece.completion_tokens)

    def _count(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Note tokens for the log, the key's limits and the metrics; what was kept took none."""
        self.record.usage(prompt_tokens, completion_tokens)
        if self.record.cache != "hit":
            self.metrics.tokens(prompt_tokens, completion_tokens)


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
