"""What a request is about: a model by its name, or an adapter over one, loaded or not."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, Literal

from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.offer import Offer
from llmwright.serving.served.probing import Proof
from llmwright.serving.work.worker import Worker
from llmwright.serving.writing import Writing

State = Literal["unloaded", "loading", "ready", "failed"]


class Hosted(ABC):
    """What routes ask, by a name; used from the event loop only.

    Args:
        offer: What it promises, loaded or not.
        config: Limits.
        metrics: The server's.

    Attributes:
        metrics: Where what concerns it is counted.
        state: Whether it can answer.
        problem: Why it failed or is not loaded any more: the code of an error, or a word.
        examples: A few inputs under the user's names, for the pages.
        memory_bytes: What it took when it was loaded last, measured; before that an estimate.
        last_used: When a request was about it last.
        parent: Name of the model under an adapter.
    """

    parent: str | None = None

    def __init__(self, offer: Offer, config: ServeConfig, metrics: Metrics) -> None:
        self.offer = offer
        self.metrics = metrics.of(offer.name, offer.contract.labels)
        self.metrics.describe(offer.artifact, offer.kind)
        self.state: State = "unloaded"
        self.problem: str | None = None
        self.examples: list[dict[str, str]] = []
        self.memory_bytes = 0
        self.last_used = time.monotonic()
        self._config = config
        self._model: ServedModel | None = None
        self._proof = Proof(None)

    @property
    def name(self) -> str:
        """What clients call it."""
        return self.offer.name

    @property
    def model(self) -> ServedModel:
        """What answers.

        Raises:
            ApiError: It is not loaded (503); a route asks `Service.pick` first.
        """
        if self._model is None:
            raise self.away()
        return self._model

    @property
    @abstractmethod
    def worker(self) -> Worker:
        """What takes jobs for it.

        Raises:
            ApiError: It is not loaded (503).
        """

    @property
    def probes(self) -> dict[str, Any]:
        """How it has answered its recorded probes so far, for ``/v1/models``."""
        return self._proof.report

    def away(self) -> ApiError:
        """Return the refusal of a request for what cannot answer now."""
        if self.state == "failed":
            return ApiError(503, "model_failed", name=self.name, reason=self.problem)
        return ApiError(503, "model_loading", headers={"retry-after": "1"}, name=self.name)

    def touch(self) -> None:
        """Note that a request is about it."""
        self.last_used = time.monotonic()

    def bounded(self, writing: Writing) -> Writing:
        """Return how a text is to be written, the model's own limit of tokens within the server's.

        Raises:
            ApiError: More tokens are asked for than one request may have, or at least more than
                at most (400).
        """
        limit = self._config.max_new_tokens
        asked = writing.generation.get("max_new_tokens")
        if asked is None:
            asked = min(limit, self.offer.contract.generation.max_new_tokens)
        if asked > limit:
            raise ApiError(400, "too_many_tokens", param="max_tokens", limit=limit)
        if writing.generation.get("min_new_tokens", 0) > asked:
            raise ApiError(400, "more_than_most", param="min_tokens", limit=asked)
        return replace(writing, generation={**writing.generation, "max_new_tokens": asked})

    def card(self) -> dict[str, Any]:
        """Return what ``/v1/models`` says about it."""
        engine = self._model.predictor.engine if self._model else None
        return {
            **self.offer.card(),
            "engine": engine and engine.name,
            "number_format": engine and engine.number_format,
            "parent": self.parent,
            "state": self.state,
            "problem": self.problem,
            "memory_bytes": self.memory_bytes,
            "probes": self.probes,
        }

    def _become(self, state: State) -> None:
        self.state = state
        self.metrics.ready.set(int(state == "ready"))
