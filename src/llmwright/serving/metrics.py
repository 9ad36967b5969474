"""What ``/metrics`` tells: every metric of the server, declared in one table.

Names begin with ``llmwright_`` and hold no colon (colons are for recording rules). Labels are
bounded: routes, status codes, served models, and a model's own labels; never a text or a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

PREFIX = "llmwright_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Labels beyond these many are counted together, so that a model with 10,000 of them cannot fill
# the monitoring system.
MAX_LABELS = 200
OTHER_LABEL = "other"
NO_MODEL = "-"


@dataclass(frozen=True)
class Described:
    """One metric.

    Attributes:
        name: Without prefix; a counter's ends with ``_total``.
        kind: What Prometheus calls it.
        help: What it tells.
        labels: Names of its labels.
        buckets: Of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS

    def make(self, registry: CollectorRegistry) -> Any:
        """Return the metric, registered."""
        name = PREFIX + self.name
        if self.kind == "histogram":
            return Histogram(name, self.help, self.labels, registry=registry, buckets=self.buckets)
        kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge}
        return kinds[self.kind](name, self.help, self.labels, registry=registry)


M = ("model",)
TABLE = (
    Described("requests_total", "counter", "Answered requests.", ("route", "model", "code")),
    Described(
        "request_duration_seconds", "histogram", "From arrival to the answer's end.", ("route",)
    ),
    Described("rejected_total", "counter", "Requests refused before work.", ("reason",)),
    Described("disconnects_total", "counter", "Clients that left before their answer."),
    Described(
        "guard_total",
        "counter",
        "Texts in which a guard found something.",
        ("guard", "place", "action"),
    ),
    Described("cache_total", "counter", "Requests whose answers are kept.", ("result",)),
    Described("cache_bytes", "gauge", "What kept answers take."),
    Described("inflight", "gauge", "Requests being answered."),
    Described("tokens_total", "counter", "Tokens read and written.", ("model", "kind")),
    Described("prediction_label_total", "counter", "Predicted labels.", ("model", "label")),
    Described("queue_depth", "gauge", "Work waiting for the model.", M),
    Described("queue_wait_seconds", "histogram", "Wait until work began.", M),
    Described("time_to_first_token_seconds", "histogram", "From queueing to the first token.", M),
    Described("inter_token_seconds", "histogram", "Between two tokens.", M),
    Described("batch_rows", "histogram", "Rows classified together.", M, ROWS),
    Described(
        "prefix_cache_tokens_total",
        "counter",
        "Prompt tokens that were asked of the prefix cache (query) and found there (hit).",
        ("model", "kind"),
    ),
    Described(
        "engine_heartbeat_age_seconds", "gauge", "Since the engine began its present step.", M
    ),
    Described("engine_restarts_total", "counter", "Engines started again.", ("model", "reason")),
    Described("engine_stuck_threads", "gauge", "Threads that hang and were given up.", M),
    Described("model_ready", "gauge", "1 where the model is loaded and checked.", M),
    Described("model_load_seconds", "gauge", "Time to load and check the model.", M),
    Described("model_memory_bytes", "gauge", "Memory the model took when it was loaded.", M),
    Described("model_unloads_total", "counter", "Models unloaded.", ("model", "reason")),
    Described("model_probes_run", "gauge", "Recorded probes that were run since loading.", M),
    Described("model_probes_failed", "gauge", "1 where the model answers its probes otherwise.", M),
    Described("model_info", "gauge", "What is served.", ("model", "digest", "format")),
)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.num_cut_off = 0
        ProcessCollector(registry=self.registry)
        self._made = {each.name: each.make(self.registry) for each in TABLE}
        self.inflight: Gauge = self["inflight"]
        self.disconnects: Counter = self["disconnects_total"]

    def __getitem__(self, name: str) -> Any:
        """Return a metric of the table by its name there."""
        return self._made[name]

    def of(self, model: str, labels: list[str]) -> ModelMetrics:
        """Return where is counted what concerns one model; its labels are empty for generators."""
        return ModelMetrics(self, model, labels)

    def request(self, route: str, model: str | None, status: int, seconds: float) -> None:
        """Count one answered request; those that no model was asked of have the model ``-``."""
        self["requests_total"].labels(route, model or NO_MODEL, str(status)).inc()
        self["request_duration_seconds"].labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request refused before any work: queue_full, timeout, unauthorized."""
        self["rejected_total"].labels(reason).inc()

    def page(self) -> bytes:
        """Return the text Prometheus reads."""
        return generate_latest(self.registry)


class ModelMetrics:
    """What is counted of one model.

    Args:
        server: Where it is counted.
        model: The model's name.
        labels: The labels it can give.
    """

    def __init__(self, server: Metrics, model: str, labels: list[str]) -> None:
        self._server = server
        self._model = model
        self._labels = set(labels[:MAX_LABELS])
        # Looked up once: these are set for each token or request.
        self.queue_depth: Gauge = self._of("queue_depth")
        self.queue_wait: Histogram = self._of("queue_wait_seconds")
        self.first_token: Histogram = self._of("time_to_first_token_seconds")
        self.between_tokens: Histogram = self._of("inter_token_seconds")
        self.batch_rows: Histogram = self._of("batch_rows")
        self.heartbeat_age: Gauge = self._of("engine_heartbeat_age_seconds")
        self.stuck: Gauge = self._of("engine_stuck_threads")
        self.ready: Gauge = self._of("model_ready")
        self.load_seconds: Gauge = self._of("model_load_seconds")
        self.memory: Gauge = self._of("model_memory_bytes")
        self.probes_run: Gauge = self._of("model_probes_run")
        self.probes_failed: Gauge = self._of("model_probes_failed")

    def _of(self, name: str) -> Any:
        return self._server[name].labels(self._model)

    def tokens(self, prompt: int, completion: int) -> None:
        """Count tokens read and written."""
        self._server["tokens_total"].labels(self._model, "prompt").inc(prompt)
        self._server["tokens_total"].labels(self._model, "completion").inc(completion)

    def predicted(self, labels: list[str]) -> None:
        """Count the labels of one answer."""
        for label in labels:
            known = label if label in self._labels else OTHER_LABEL
            self._server["prediction_label_total"].labels(self._model, known).inc()

    def prefix_cache(self, queried: int, hit: int) -> None:
        """Count prompt tokens that the engine looked for in its cache, and those it had."""
        self._server["prefix_cache_tokens_total"].labels(self._model, "query").inc(queried)
        self._server["prefix_cache_tokens_total"].labels(self._model, "hit").inc(hit)

    def refused(self, reason: str) -> None:
        """Count a request refused before any work."""
        self._server.refused(reason)

    def restarted(self, reason: str) -> None:
        """Count an engine that is started again: died, hung, broken."""
        self._server["engine_restarts_total"].labels(self._model, reason).inc()

    def unloaded(self, reason: str) -> None:
        """Count a model that is unloaded: evicted, idle."""
        self._server["model_unloads_total"].labels(self._model, reason).inc()

    def describe(self, digest: str, kind: str) -> None:
        """Say what is served: id of the artifact and whether it is a model or an export."""
        self._server["model_info"].labels(self._model, digest, kind).set(1)
