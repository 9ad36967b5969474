"""A model by its name: unloaded, loading, ready or failed, with the thread that runs it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Literal

import psutil

from llmwright.core.errors import LLMwrightError, ResourceError
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.probing import Proof, examples
from llmwright.serving.served.source import Source
from llmwright.serving.work.thread import ModelThread
from llmwright.serving.work.worker import Worker
from llmwright.serving.writing import Writing

State = Literal["unloaded", "loading", "ready", "failed"]
# Between a route's asking for a model and the work it submits; a model is not taken away meanwhile.
GRACE_SECONDS = 1.0
# A model that ran so long after a restart has earned the next one.
FORGIVEN_SECONDS = 600.0


class Hosted:
    """One model of a server, used from the event loop only.

    Args:
        source: What is loaded.
        config: Limits.
        metrics: The server's.

    Attributes:
        offer: What the model promises, loaded or not.
        metrics: Where what concerns this model is counted.
        state: Whether it can answer.
        problem: Why it failed or is not loaded any more: the code of an error, or a word.
        examples: A few inputs under the user's names, for the pages.
        memory_bytes: What it took when it was loaded last, measured; before that an estimate.
        last_used: When a request was about it last.
        num_restarts: How often its engine was started again in a row.
        num_stuck: Threads that hang in the engine and were given up; what they hold is not free.
    """

    def __init__(self, source: Source, config: ServeConfig, metrics: Metrics) -> None:
        self.source = source
        self.offer = source.offer
        self.metrics = metrics.of(self.offer.name, self.offer.contract.labels)
        self.metrics.describe(self.offer.artifact, self.offer.kind)
        self.state: State = "unloaded"
        self.problem: str | None = None
        self.examples: list[dict[str, str]] = []
        self.memory_bytes = source.size_bytes
        self.last_used = time.monotonic()
        self.num_restarts = 0
        self._stuck: list[ModelThread] = []
        self._broken = False
        self._restarted = 0.0
        self._config = config
        self._model: ServedModel | None = None
        self._worker: Worker | None = None
        self._thread: ModelThread | None = None
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
    def worker(self) -> Worker:
        """What takes jobs for the model.

        Raises:
            ApiError: It is not loaded (503).
        """
        if self._worker is None:
            raise self.away()
        return self._worker

    @property
    def probes(self) -> dict[str, Any]:
        """How the model has answered its recorded probes so far, for ``/v1/models``."""
        return self._proof.report

    @property
    def num_stuck(self) -> int:
        """Threads that hang in the engine and were given up."""
        self._stuck = [thread for thread in self._stuck if thread.lives()]
        return len(self._stuck)

    def away(self) -> ApiError:
        """Return the refusal of a request for a model that cannot answer now."""
        if self.state == "failed":
            return ApiError(503, "model_failed", name=self.name, reason=self.problem)
        return ApiError(503, "model_loading", headers={"retry-after": "1"}, name=self.name)

    def touch(self) -> None:
        """Note that a request is about this model."""
        self.last_used = time.monotonic()

    def is_idle(self) -> bool:
        """Say whether no request is at work or about to be."""
        if time.monotonic() - self.last_used < GRACE_SECONDS:
            return False
        return self._worker is None or self._worker.num_held() == 0

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
            "state": self.state,
            "problem": self.problem,
            "memory_bytes": self.memory_bytes,
            "probes": self.probes,
        }

    async def load(self) -> None:
        """Load the model in a thread of its own and let it answer its first probes.

        Raises:
            LLMwrightError: It cannot be loaded, or does not answer as recorded.
        """
        self._become("loading")
        started, before = time.monotonic(), psutil.Process().memory_info().rss
        thread = ModelThread()
        try:
            opened = thread.submit(self._open)
            model = await asyncio.wrap_future(opened)
        except BaseException as error:
            thread.end()
            if isinstance(error, asyncio.CancelledError):
                raise
            self.problem = error.code if isinstance(error, LLMwrightError) else "internal"
            # Memory may be free later; files stay as they are.
            self._become("unloaded" if isinstance(error, ResourceError) else "failed")
            raise
        grown = psutil.Process().memory_info().rss - before
        # Weights that are mapped from a file grow into memory only while they are used.
        self.memory_bytes = max(grown, self.source.size_bytes)
        self._model, self._thread = model, thread
        self._worker = Worker(model, self._config, self.metrics, thread)
        self._worker.start(self._prove)
        self.problem, self._broken = None, False
        self.metrics.load_seconds.set(time.monotonic() - started)
        self.metrics.memory.set(self.memory_bytes)
        self.touch()
        self._become("ready")

    def _open(self) -> ServedModel:
        model = self.source.open()
        self._proof = Proof(model.predictor)
        self._proof.begin(self._config.num_probes)
        self.examples = examples(model)
        return model

    def _prove(self) -> bool:
        """Run one more recorded probe; say whether any is left. Called in the model's thread."""
        more = self._proof.go_on() if self._config.num_probes else False
        self.metrics.probes_run.set(self.probes["count"])
        self.metrics.probes_failed.set(int(self.probes["status"] == "failed"))
        return more

    def trouble(self) -> str | None:
        """Return what is wrong with the engine of a model that should be ready; None when well."""
        if self.state != "ready" or self._worker is None:
            return None
        if self.probes["status"] == "failed" and self._config.strict_probes:
            return "other_answers"
        return self._worker.trouble()

    def is_well(self) -> bool:
        """Say whether requests about this model can be expected to be answered."""
        return not self._broken and self.trouble() is None

    def is_given_up(self) -> bool:
        """Say whether the engine was started again in vain too often."""
        return self.state == "failed" and self._broken

    def measure(self) -> None:
        """Set the metrics that nobody sets as things happen."""
        worker = self._worker
        self.metrics.heartbeat_age.set(0.0 if worker is None else worker.heartbeat_age())
        self.metrics.stuck.set(self.num_stuck)

    def fail(self, reason: str) -> None:
        """Answer no more requests until the server is started again."""
        self._let_go(ApiError(503, "model_failed", name=self.name, reason=reason))
        self.problem, self._broken = reason, True
        self._become("failed")

    async def unload(self, reason: str) -> None:
        """Give the memory of the model back until it is asked for again."""
        closed = self._let_go(ApiError(503, "model_loading", name=self.name))
        self.problem = reason
        self._become("unloaded")
        self.metrics.unloaded(reason)
        if closed is not None:
            await asyncio.wrap_future(closed)
        gc.collect()

    def may_restart(self) -> bool:
        """Say whether the engine may be started again; count it if so."""
        if time.monotonic() - self._restarted > FORGIVEN_SECONDS:
            self.num_restarts = 0
        self._restarted = time.monotonic()
        self.num_restarts += 1
        return self.num_restarts <= self._config.max_restarts

    def give_up(self, reason: str) -> None:
        """Let go of an engine in trouble and its thread; the model is to be loaded anew."""
        headers = {"retry-after": "5"}
        self._let_go(ApiError(503, "engine_restarted", headers=headers, name=self.name))
        self.problem, self._broken = reason, True
        self.metrics.restarted(reason)
        self._become("unloaded")

    def close(self) -> Future[None] | None:
        """Refuse what still waits and return the closing of the model; the server stops."""
        return self._let_go(ApiError(503, "shutting_down"))

    def _let_go(self, error: ApiError) -> Future[None] | None:
        """End all work with an error; return the closing of the model, which a stuck one delays."""
        worker, thread, model = self._worker, self._thread, self._model
        self._worker = self._thread = self._model = None
        if worker is None or thread is None or model is None:
            return None
        worker.close(error)
        close: Callable[[ServedModel], None] = self.source.close
        closed = thread.submit(lambda: close(model))
        thread.end()
        if worker.heartbeat_age() > self._config.hang_seconds:
            # Nothing ends a thread from outside. Should it ever go on, it gives its memory back.
            self._stuck.append(thread)
        return closed

    def _become(self, state: State) -> None:
        self.state = state
        self.metrics.ready.set(int(state == "ready"))
