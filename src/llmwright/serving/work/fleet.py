"""All models of a server: loaded when asked for, unloaded for others, watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import LLMwrightError, ResourceError
from llmwright.core.locale import text
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.source import Source
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.hosted_adapter import HostedAdapter
from llmwright.serving.work.hosted_model import HostedModel

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
        own: The models.
        models: Name → model or adapter.
        tell: Takes a sentence for the one who runs the server.
    """

    def __init__(self, sources: Iterable[Source], config: ServeConfig, metrics: Metrics) -> None:
        self.own = [HostedModel(source, config, metrics) for source in sources]
        self.models: dict[str, Hosted] = {hosted.name: hosted for hosted in self.own}
        self.tell: Tell = lambda sentence, level: None
        self._config = config
        self._metrics = metrics
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, int] = {}
        # One load at a time: what each takes is measured, and room is counted once.
        self._turn = asyncio.Lock()

    async def ready(self, asked: Hosted) -> None:
        """Wait until a model is loaded; requests that come meanwhile wait for the same load.

        An adapter is loaded with its model.

        Raises:
            ApiError: It failed, there is no room, or too many wait (503); it takes too long (504).
        """
        hosted = asked.base if isinstance(asked, HostedAdapter) else asked
        assert isinstance(hosted, HostedModel)
        name, most = hosted.name, self._config.max_concurrency + self._config.max_queue
        for one in (asked, hosted):
            if one.state == "failed":
                raise one.away()
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

    def _load_once(self, hosted: HostedModel) -> asyncio.Task[None]:
        running = self._loading.get(hosted.name)
        if running is None:
            running = asyncio.create_task(self._load(hosted))
            self._loading[hosted.name] = running
            running.add_done_callback(lambda task: self._loaded(hosted, task))
        return running

    def _loaded(self, hosted: HostedModel, task: asyncio.Task[None]) -> None:
        self._loading.pop(hosted.name, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LLMwrightError) and hosted is not self.own[0]:
            self.tell(text("serving.not_loaded", name=hosted.name, reason=error.message), "warning")

    async def _load(self, hosted: HostedModel) -> None:
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

    async def _make_room(self, wanted: HostedModel) -> None:
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
            idle = [h for h in self.own if h.state == "ready" and h.is_idle()]
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
            for hosted in self.own
        )

    async def start(self, hosted: HostedModel) -> None:
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
            for hosted in self.own:
                reason = hosted.trouble()
                if hosted.name in self._loading:
                    continue
                if reason is not None:
                    self._help(hosted, reason)
                elif self._is_forgotten(hosted):
                    await hosted.unload("idle")

    def _is_forgotten(self, hosted: HostedModel) -> bool:
        seconds = self._config.keep_alive_seconds
        if seconds is None or hosted.state != "ready" or not hosted.is_idle():
            return False
        return hosted.unused_seconds() > seconds

    async def load_adapter(self, name: str, artifact: Artifact, base: Hosted) -> HostedAdapter:
        """Load an adapter over a model; one of this name is replaced.

        Args:
            name: What clients call it.
            artifact: The adapter.
            base: The model it was trained on; loaded first where it is not.

        Raises:
            ApiError: The name is a model's, there are too many, or the adapter does not answer as
                recorded (400); the model cannot be loaded (503, 504).
            LLMwrightError: It is damaged, or was trained on another model.
        """
        if not isinstance(base, HostedModel):
            raise ApiError(400, "not_a_model", param="model", name=base.name)
        found = self.models.get(name)
        if found is not None and getattr(found, "base", None) is not base:
            raise ApiError(400, "name_taken", param="lora_name", name=name)
        if found is None and len(base.adapters) >= self._config.max_adapters:
            limit = self._config.max_adapters
            raise ApiError(400, "too_many_adapters", param="lora_name", limit=limit)
        adapter = HostedAdapter(name, artifact, base, self._config, self._metrics)
        if base.state != "ready":
            await self.ready(base)
        await asyncio.wrap_future(base.worker.do(partial(adapter.attach, base.model)))
        base.adapters[name] = self.models[name] = adapter
        if isinstance(found, HostedAdapter):
            await asyncio.wrap_future(base.worker.do(found.remove))
        return adapter

    async def unload_adapter(self, name: str) -> None:
        """Forget an adapter; texts that are being written through it go on.

        Raises:
            ApiError: There is no adapter of this name (404).
        """
        adapter = self.models.get(name)
        if not isinstance(adapter, HostedAdapter):
            names = ", ".join(adapter for one in self.own for adapter in one.adapters) or "-"
            raise ApiError(404, "adapter_not_found", param="lora_name", name=name, names=names)
        for hosted in self.own:
            hosted.adapters.pop(name, None)
        del self.models[name]
        if adapter.base.state == "ready":
            await asyncio.wrap_future(adapter.base.worker.do(adapter.remove))

    def _help(self, hosted: HostedModel, reason: str) -> None:
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
        closing = [hosted.close() for hosted in self.own]
        found = [asyncio.wrap_future(future) for future in closing if future is not None]
        if found:
            # A step in native code is let finish, one that hangs is not waited for.
            await asyncio.wait(found, timeout=CLOSE_SECONDS)
