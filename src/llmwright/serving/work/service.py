"""What the routes share: the models by name, the settings and the metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

from fastapi import Request

from llmwright.core.artifacts import Artifact
from llmwright.serving.cache import AnswerCache
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import HOLDER
from llmwright.serving.door.errors import ApiError
from llmwright.serving.guards.guarding import Guards
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.source import Source
from llmwright.serving.work.fleet import Fleet
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.hosted_model import HostedModel
from llmwright.serving.work.library import Library

Find = Callable[[str], Artifact]


class Service:
    """A running server's parts.

    Args:
        sources: What is served; the first answers requests that name no model.
        config: The settings.
        num_keys: How many API keys open the server; 0 leaves it open.
        guards: What looks at prompts and replies.
        find: Returns the artifact that an administrator names.
        library: The documents; None without.

    Attributes:
        fleet: Loads and watches the models.
        metrics: What is counted of the whole server.
        cache: Answers that are kept.
        started: Whether the first model is loaded and checked.
        draining: Whether the server is stopping.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        config: ServeConfig,
        num_keys: int,
        guards: Guards,
        find: Find,
        library: Library | None = None,
    ) -> None:
        self.config = config
        self.library = library
        self.metrics = Metrics()
        self.fleet = Fleet(sources, config, self.metrics)
        self.num_keys = num_keys
        self.find = find
        self.guards = guards
        guards.note = lambda *found: self.metrics["guard_total"].labels(*found).inc()
        self.cache = AnswerCache(config.cache_bytes, config.cache_shared)
        self.metrics["cache_bytes"].set_function(lambda: self.cache.num_bytes)
        self.started = False
        self.draining = False
        self._starting: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def models(self) -> Mapping[str, Hosted]:
        """The models by name."""
        return self.fleet.models

    @property
    def default(self) -> HostedModel | None:
        """The model that answers requests that name none; None where there are only documents."""
        return next(iter(self.fleet.own), None)

    def begin(self) -> None:
        """Begin to load the first model, while health is answered already."""
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        if self.library is not None:
            await self.library.open()
        if self.default is not None:
            await self.fleet.start(self.default)
        self.started = True
        self._watching = asyncio.create_task(self.fleet.watch())

    async def until_started(self) -> None:
        """Wait until requests are answered.

        Raises:
            LLMwrightError: The first model cannot be loaded or does not answer as recorded.
        """
        assert self._starting is not None, "nothing has begun"
        await self._starting

    async def end(self) -> None:
        """Refuse what still waits and stop watching."""
        self.draining = True
        for task in (self._starting, self._watching):
            if task is not None:
                task.cancel()
                with contextlib.suppress(BaseException):
                    await task
        await self.fleet.close()
        if self.library is not None:
            self.library.close()

    def known(self, name: str | None) -> Hosted:
        """Return a model by its name, or the first one that the request's key may ask.

        Raises:
            ApiError: No such model (404), or the key may not ask it (403).
        """
        if not self.models:
            raise ApiError(404, "no_model", param="model")
        allowed = self.allowed
        names = ", ".join(allowed)
        if name is None and allowed:
            return self.models[allowed[0]]
        if name is None or (name in self.models and name not in allowed):
            raise ApiError(403, "model_not_allowed", param="model", name=name or "-", names=names)
        if name not in self.models:
            raise ApiError(404, "model_not_found", param="model", name=name, names=names)
        return self.models[name]

    @property
    def allowed(self) -> list[str]:
        """Names of the models that the request's key may ask."""
        return [name for name in self.models if HOLDER.get().allows(name)]

    async def pick(self, name: str | None) -> Hosted:
        """Return the model that a request names, or the default one, loaded and able to answer.

        Raises:
            ApiError: No such model (404); it cannot answer now (503); it takes too long (504).
        """
        hosted = self.known(name)
        if not self.started:
            raise hosted.away()
        hosted.touch()
        if hosted.state != "ready":
            await self.fleet.ready(hosted)
            hosted.touch()
        return hosted

    def trouble(self) -> str | None:
        """Return why requests are not answered now, as a word for health probes; None when well."""
        if self.draining:
            return "stopping"
        if not self.started:
            return "loading"
        if all(hosted.is_well() for hosted in self.fleet.own):
            return None
        return self.beyond_help() or "engine stuck"

    def beyond_help(self) -> str | None:
        """Return why only a new start of the process can help; None where nothing needs one."""
        if any(hosted.is_given_up() for hosted in self.fleet.own):
            return "engine failed"
        return None

    def check_rows(self, count: int, param: str) -> None:
        """Refuse more texts than one request may have.

        Raises:
            ApiError: There are more (400).
        """
        if count > self.config.max_rows:
            raise ApiError(400, "too_many", param=param, limit=self.config.max_rows)


def service_of(request: Request) -> Service:
    """Return the service behind a request's app."""
    service: Service = request.app.state.service
    return service
