"""A model by its name, with the thread that runs it and what is counted of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.model import ServedModel
from llmwright.serving.work.thread import ModelThread
from llmwright.serving.work.worker import Worker
from llmwright.serving.writing import Writing

SKIPPED: dict[str, Any] = {"status": "skipped", "count": 0, "details": {}}


class Hosted:
    """One model of a server.

    Args:
        model: What answers.
        config: Limits.
        metrics: The server's.
        thread: That the model was loaded in; one of its own when not given.
        probes: How the model answered its recorded probes, for ``/v1/models``.
        examples: A few inputs under the user's names, for the pages.

    Attributes:
        worker: Takes jobs for the model.
        metrics: Where what concerns this model is counted.
    """

    def __init__(
        self,
        model: ServedModel,
        config: ServeConfig,
        metrics: Metrics,
        thread: ModelThread | None = None,
        probes: dict[str, Any] | None = None,
        examples: list[dict[str, str]] | None = None,
    ) -> None:
        self.model = model
        self.metrics = metrics.of(model.name, model.contract.labels)
        self.metrics.describe(model.artifact, model.kind)
        self.worker = Worker(model, config, self.metrics, thread)
        self.probes = probes or SKIPPED
        self.examples = examples or []
        self._config = config

    @property
    def name(self) -> str:
        """What clients call it."""
        return self.model.name

    def bounded(self, writing: Writing) -> Writing:
        """Return how a text is to be written, the model's own limit of tokens within the server's.

        Raises:
            ApiError: More tokens are asked for than one request may have (400).
        """
        limit = self._config.max_new_tokens
        asked = writing.generation.get("max_new_tokens")
        if asked is None:
            asked = min(limit, self.model.contract.generation.max_new_tokens)
        if asked > limit:
            raise ApiError(400, "too_many_tokens", param="max_tokens", limit=limit)
        return replace(writing, generation={**writing.generation, "max_new_tokens": asked})

    def card(self) -> dict[str, Any]:
        """Return what ``/v1/models`` says about it."""
        return {**self.model.card(), "probes": self.probes}
