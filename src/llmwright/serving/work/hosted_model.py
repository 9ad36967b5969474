"""A model's life in a server: loaded, proven, started again when its engine hangs, unloaded."""

from __future__ import annotations

import asyncio
import gc
import time
from concurrent.futures import Future
from functools import partial

import psutil

from llmwright.core.errors import LLMwrightError, ResourceError
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.errors import ApiError
from llmwright.serving.metrics import Metrics
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.probing import Proof, examples
from llmwright.serving.served.source import Source
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.hosted_adapter import HostedAdapter
from llmwright.serving.work.thread import ModelThread
from llmwright.serving.work.worker import Worker

# Between a route's asking for a model and the work it submits; a model is not taken away meanwhile.
GRACE_SECONDS = 1.0
# A model that ran so long after a restart has earned the next one.
FORGIVEN_SECONDS = 600.0


class HostedModel(Hosted):
    """One model of a server.

    Args:
        source: What is loaded.
        config: Limits.
        metrics: The server's.

    Attributes:
        adapters: Name → adapter over it; they are loaded with it.
        num_restarts: How often its engine was started again in a row.
    """

    def __init__(self, source: Source, config: ServeConfig, metrics: Metrics) -> None:
        super().__init__(source.offer, config, metrics)
        self.source = source
        self.memory_bytes = source.size_bytes
        self.adapters: dict[str, HostedAdapter] = {}
        self.num_restarts = 0
        self._stuck: list[ModelThread] = []
        self._worked = False
        self._broken = False
        self._given_up = False
        self._cached = (0, 0)
        self._restarted = 0.0
        self._worker: Worker | None = None
        self._thread: ModelThread | None = None

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
    def num_stuck(self) -> int:
        """Threads that hang in the engine and were given up; what they hold is not free."""
        self._stuck = [thread for thread in self._stuck if thread.lives()]
        return len(self._stuck)

    def is_idle(self) -> bool:
        """Say whether no request is at work or about to be."""
        if self.unused_seconds() < GRACE_SECONDS:
            return False
        return self._worker is None or self._worker.num_held() == 0

    def unused_seconds(self) -> float:
        """Return the time since a request was about the model or one of its adapters."""
        used = [self.last_used, *(adapter.last_used for adapter in self.adapters.values())]
        return time.monotonic() - max(used)

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
            # What answered before is missed now, and so the server is not ready.
            self._broken = self._broken or self._worked
            # Memory may be free later; files stay as they are.
            self._become("unloaded" if isinstance(error, ResourceError) else "failed")
            raise
        grown = psutil.Process().memory_info().rss - before
        # Weights that are mapped from a file grow into memory only while they are used.
        self.memory_bytes = max(grown, self.source.size_bytes)
        self._model, self._thread, self._cached = model, thread, (0, 0)
        self._worker = Worker(model, self._config, self.metrics, thread)
        self._worker.start(self._prove)
        self.problem, self._broken, self._worked = None, False, True
        self.metrics.load_seconds.set(time.monotonic() - started)
        self.metrics.memory.set(self.memory_bytes)
        self.touch()
        self._become("ready")

    def _open(self) -> ServedModel:
        model = self.source.open()
        try:
            self._proof = Proof(model.predictor)
            self._proof.begin(self._config.num_probes)
            self.examples = examples(model)
            for adapter in list(self.adapters.values()):
                adapter.attach_again(model)
        except BaseException:
            self._proof.end()
            self.source.close(model)
            raise
        return model

    def _prove(self) -> bool:
        """Run one more recorded probe; say whether any is left. Called in the model's thread."""
        more = self._proof.go_on() if self._config.num_probes else False
        self.metrics.probes_run.set(self.probes["count"])
        self.metrics.probes_failed.set(int(self.probes["status"] == "failed"))
        return more

    def trouble(self) -> str | None:
        """Return what is wrong with the engine of a model that should be ready; None when well."""
        if self._broken and self.state == "unloaded":
            return "not_loaded"
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
        return self._given_up

    def measure(self) -> None:
        """Set the metrics that nobody sets as things happen."""
        worker = self._worker
        self.metrics.heartbeat_age.set(0.0 if worker is None else worker.heartbeat_age())
        if self._model is not None:
            counts = self._model.predictor.engine.prefix_cache
            self.metrics.prefix_cache(counts[0] - self._cached[0], counts[1] - self._cached[1])
            self._cached = counts
        self.metrics.stuck.set(self.num_stuck)

    def fail(self, reason: str) -> None:
        """Answer no more requests until the server is started again.

        Args:
            reason: What `trouble` said.
        """
        self._given_up = reason != "other_answers"
        self._let_go(ApiError(503, "model_failed", name=self.name, reason=reason))
        self.problem, self._broken = reason, True
        self._become("failed")

    async def unload(self, reason: str) -> None:
        """Give the memory of the model back until it is asked for again."""
        thread = self._thread
        closed = self._let_go(ApiError(503, "model_loading", name=self.name))
        self.problem = reason
        self._become("unloaded")
        self.metrics.unloaded(reason)
        if closed is None or thread is None:
            return
        # Idle as it is, it may be at a probe, and hang there.
        await asyncio.wait([asyncio.wrap_future(closed)], timeout=self._config.hang_seconds)
        if not closed.done():
            self._stuck.append(thread)

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
        self.measure()
        worker, thread, model = self._worker, self._thread, self._model
        self._worker = self._thread = self._model = None
        self._proof.end()
        for adapter in list(self.adapters.values()):
            adapter.detach()
        if worker is None or thread is None or model is None:
            return None
        worker.close(error)
        closed = thread.submit(partial(_close, self.source, model))
        thread.end()
        if worker.heartbeat_age() > self._config.hang_seconds:
            # Nothing ends a thread from outside. Should it ever go on, it gives its memory back.
            self._stuck.append(thread)
        return closed


def _close(source: Source, model: ServedModel) -> None:
    source.close(model)
    gc.collect()
