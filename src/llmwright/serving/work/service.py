"""What the routes share: the models by name, the settings and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import HOLDER
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.work.hosted import Hosted


@dataclass
class Service:
    """A running server's parts.

    Attributes:
        config: The settings.
        models: What is served, by name; the first answers requests that name none.
        metrics: What is counted of the whole server.
        num_keys: How many API keys open the server; 0 leaves it open.
        draining: Whether the server is stopping.
    """

    config: ServeConfig
    models: Mapping[str, Hosted]
    metrics: Metrics
    num_keys: int
    draining: bool = False

    @property
    def default(self) -> Hosted:
        """The model that answers requests that name none."""
        return next(iter(self.models.values()))

    def known(self, name: str | None) -> Hosted:
        """Return a model by its name, or the first one that the request's key may ask.

        Raises:
            ApiError: No such model (404), or the key may not ask it (403).
        """
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
        """Return the model that a request names, or the default one, able to answer.

        Raises:
            ApiError: No such model (404).
        """
        return self.known(name)

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
