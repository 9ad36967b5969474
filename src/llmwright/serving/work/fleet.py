"""All models of a server: loaded when asked for, unloaded for others, watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Literal

from llmwright.core.errors import LLMwrightError, ResourceError
from llmwright.core.locale import text
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.source import Source
from llmwright.serving.work.hosted import Hosted

ROOM_SECONDS = 0.05
CLOSE_SECONDS = 5.0
Level = Literal["info", "warning"]
Tell = Callable[[str, Level], None]


class Fleet:
    """The models by name; used from the event loop only.

    Args:
        sources: What is served; the first is loaded at start, others when they are asked for.
        config: Limits.
        metrics: The server's.

    Attributes:
        models: Name → model.
        tell: Takes a sentence for the one who runs the server.
    """

    def __init__(self, sources: Iterable[Source], config: ServeConfig, metrics: Metrics) -> None:
        self.models = {s.offer.name: Hosted(s, config, metrics) for s in sources}
        self.tell: Tell = lambda sentence, level: None
        self._config = config
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, int] = {}
        # One load at a time: what each takes is measured, and room is counted once.
        self._turn = asyncio.Lock()

    async def ready(self, hosted: Hosted) -> None:
        """Wait until a model is loaded; requests that come meanwhile wait for the same load.

        Raises:
            ApiError: It failed, there is no room, or too many wait (503); it takes too long (504).
        """
        name, most = hosted.name, self._config.max_concurrency + self._config.max_queue
        if hosted.state == "failed":
            raise hosted.away()
        if self._waiting.get(name, 0) >= most:
            headers = {"retry-after": "5"}
            raise ApiError(503, "queue_full", headers=headers, waiting=self._waiting[name])
        self._waiting[name] = self._waiting.get(name, 0) + 1
        try:
            seconds = self._config.request_timeout_seconds
            async with asyncio.timeout(seconds):
                # Whoever leaves must not end the load that others wait for.
                await asyncio.shield(self._load_once(hosted))
        except TimeoutError:
            hosted.metrics.refused("timeout")
            raise ApiError(504, "timeout", seconds=f"{seconds:g}") from None
        except LLMwrightError as error:
            raise ApiError(503, "model_failed", name=name, reason=error.code) from error
        finally:
            self._waiting[name] -= 1

    def _load_once(self, hosted: Hosted) -> asyncio.Task[None]:
        running = self._loading.get(hosted.name)
        if running is None:
            running = asyncio.create_task(self._load(hosted))
            self._loading[hosted.name] = running
            running.add_done_callback(lambda task: self._loaded(hosted, task))
        return running

    def _loaded(self, hosted: Hosted, task: asyncio.Task[None]) -> None:
        self._loading.pop(hosted.name, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LLMwrightError) and hosted is not next(iter(self.models.values())):
            self.tell(text("serving.not_loaded", name=hosted.name, reason=error.message), "warning")

    async def _load(self, hosted: Hosted) -> None:
        async with self._turn:
            if hosted.state == "ready":
                return
            await self._make_room(hosted)
            await hosted.load()
        choice = hosted.model.predictor.choice
        if choice:
            self.tell(text("serving.loaded", name=hosted.name, choice=choice), "info")
        for note in hosted.model.predictor.notes:
            self.tell(note, "warning")

    async def _make_room(self, wanted: Hosted) -> None:
        """Unload models that were not used for longest until another fits.

        Raises:
            ApiError: It never fits, or all others are at work for too long (503).
        """
        limit, least = self._config.max_memory_bytes, wanted.source.size_bytes
        if limit is None:
            return
        if least > limit:
            raise ApiError(503, "model_too_large", name=wanted.name, need=least, limit=limit)
        until = time.monotonic() + self._config.request_timeout_seconds
        # Alone it may try: what was measured of the first model holds the libraries too.
        while (used := self._used_bytes()) and used + wanted.memory_bytes > limit:
            idle = [h for h in self.models.values() if h.state == "ready" and h.is_idle()]
            if idle:
                victim = min(idle, key=lambda hosted: hosted.last_used)
                await victim.unload("evicted")
            elif time.monotonic() > until:
                headers = {"retry-after": "10"}
                raise ApiError(503, "no_room", headers=headers, name=wanted.name)
            else:
                await asyncio.sleep(ROOM_SECONDS)

    def _used_bytes(self) -> int:
        """Return what loaded models take, those included that a stuck thread still holds."""
        return sum(
            hosted.memory_bytes * (int(hosted.state == "ready") + hosted.num_stuck)
            for hosted in self.models.values()
        )

    async def start(self, hosted: Hosted) -> None:
        """Load the model that must be there before the server is ready.

        Raises:
            LLMwrightError: It cannot be loaded, does not answer as recorded or is too large
                (``SERVE-015``).
        """
        try:
            await self._load_once(hosted)
        except ApiError as error:
            raise ResourceError("SERVE-015", reason=error.message("en")) from error

    async def watch(self) -> None:
        """Look after all models until cancelled: restart what is stuck, unload what is not used."""
        seconds = min(1.0, self._config.hang_seconds / 4)
        while True:
            await asyncio.sleep(seconds)
            for hosted in self.models.values():
                reason = hosted.trouble()
                if reason is not None:
                    self._help(hosted, reason)
                elif self._is_forgotten(hosted):
                    await hosted.unload("idle")

    def _is_forgotten(self, hosted: Hosted) -> bool:
        seconds = self._config.keep_alive_seconds
        if seconds is None or hosted.state != "ready" or not hosted.is_idle():
            return False
        return time.monotonic() - hosted.last_used > seconds

    def _help(self, hosted: Hosted, reason: str) -> None:
        if reason == "other_answers" or not hosted.may_restart():
            self.tell(text("serving.given_up", name=hosted.name, reason=reason), "warning")
            hosted.fail(reason)
            return
        self.tell(text("serving.restarting", name=hosted.name, reason=reason), "warning")
        hosted.give_up(reason)
        # Others are watched meanwhile. What cannot be loaded again says so in its state.
        self._load_once(hosted)

    async def close(self) -> None:
        """Refuse what still waits; the server stops."""
        for task in self._loading.values():
            task.cancel()
        closing = [hosted.close() for hosted in self.models.values()]
        found = [asyncio.wrap_future(future) for future in closing if future is not None]
        if found:
            # A step in native code is let finish, one that hangs is not waited for.
            await asyncio.wait(found, timeout=CLOSE_SECONDS)
