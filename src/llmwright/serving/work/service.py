"""What the routes share: the model, its worker, the settings and the metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.model import ServedModel
from llmwright.serving.work.worker import Worker
from llmwright.serving.writing import Writing


@dataclass
class Service:
    """A running server's parts.

    Attributes:
        config: The settings.
        model: What is served.
        worker: The thread that owns it.
        metrics: What is counted.
        probes: How the model answered its recorded probes.
        examples: A few inputs under the user's names, for the pages.
        num_keys: How many API keys open the server; 0 leaves it open.
        draining: Whether the server is stopping.
    """

    config: ServeConfig
    model: ServedModel
    worker: Worker
    metrics: Metrics
    probes: dict[str, Any]
    examples: list[dict[str, str]]
    num_keys: int
    draining: bool = False

    def pick(self, name: str | None) -> ServedModel:
        """Return the model a request names, or the only one.

        Raises:
            ApiError: No such model (404).
        """
        if name is not None and name != self.model.name:
            raise ApiError(404, "model_not_found", param="model", name=name, names=self.model.name)
        return self.model

    def check_rows(self, count: int, param: str) -> None:
        """Refuse more texts than one request may have.

        Raises:
            ApiError: There are more (400).
        """
        if count > self.config.max_rows:
            raise ApiError(400, "too_many", param=param, limit=self.config.max_rows)

    def bounded(self, writing: Writing) -> Writing:
        """Return how a text is to be written, the model's own limit of tokens within ours.

        Raises:
            ApiError: More tokens are asked for than one request may have (400).
        """
        limit = self.config.max_new_tokens
        asked = writing.generation.get("max_new_tokens")
        if asked is None:
            asked = min(limit, self.model.contract.generation.max_new_tokens)
        if asked > limit:
            raise ApiError(400, "too_many_tokens", param="max_tokens", limit=limit)
        return replace(writing, generation={**writing.generation, "max_new_tokens": asked})


def service_of(request: Request) -> Service:
    """Return the service behind a request's app."""
    service: Service = request.app.state.service
    return service
