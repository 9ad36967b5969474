"""What ``/metrics`` tells: every metric of the server, declared in one place.

Names begin with ``llmwright_`` and hold no colon (colons are for recording rules). Labels are
bounded: routes, status codes, the served model, and the model's own labels; never a text or a key.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
# Labels beyond these many are counted together, so that a model with 10,000 of them cannot fill
# the monitoring system.
MAX_LABELS = 200
OTHER_LABEL = "other"
NO_MODEL = "-"


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.num_cut_off = 0
        ProcessCollector(registry=self.registry)
        self._requests = self._counter("requests", "Answered requests.", "route", "model", "code")
        self._seconds = self._histogram(
            "request_duration_seconds", "From arrival to the answer's end.", "route"
        )
        self.token_count = self._counter("tokens", "Tokens read and written.", "model", "kind")
        self.prediction_label = self._counter(
            "prediction_label", "Predicted labels.", "model", "label"
        )
        self._refused = self._counter("rejected", "Requests refused before work.", "reason")
        self.disconnects = self._counter("disconnects", "Clients that left before their answer.")
        self.inflight = self._gauge("inflight", "Requests being answered.")
        self.queue_depth = self._gauge("queue_depth", "Work waiting for the model.", "model")
        self.heartbeat_age = self._gauge(
            "engine_heartbeat_age_seconds", "Since the model's thread last gave a sign.", "model"
        )
        self.load_seconds = self._gauge(
            "model_load_seconds", "Time to load and check the model.", "model"
        )
        self.queue_wait = self._histogram("queue_wait_seconds", "Wait until work began.", "model")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From queueing to the first token.", "model"
        )
        self.between_tokens = self._histogram("inter_token_seconds", "Between two tokens.", "model")
        self.batch_rows = Histogram(
            "llmwright_batch_rows",
            "Rows classified together.",
            ("model",),
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self.info = self._gauge("model_info", "What is served.", "model", "digest", "format")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"llmwright_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"llmwright_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"llmwright_{name}", text, labels, registry=self.registry, buckets=SECONDS)

    def of(self, model: str, labels: list[str]) -> ModelMetrics:
        """Return where is counted what concerns one model; its labels are empty for generators."""
        return ModelMetrics(self, model, labels)

    def request(self, route: str, model: str | None, status: int, seconds: float) -> None:
        """Count one answered request; those that no model was asked of have the model ``-``."""
        self._requests.labels(route, model or NO_MODEL, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request refused before any work: queue_full, timeout, unauthorized."""
        self._refused.labels(reason).inc()

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
        self.queue_depth = server.queue_depth.labels(model)
        self.heartbeat_age = server.heartbeat_age.labels(model)
        self.load_seconds = server.load_seconds.labels(model)
        self.queue_wait = server.queue_wait.labels(model)
        self.first_token = server.first_token.labels(model)
        self.between_tokens = server.between_tokens.labels(model)
        self.batch_rows = server.batch_rows.labels(model)

    def tokens(self, prompt: int, completion: int) -> None:
        """Count tokens read and written."""
        self._server.token_count.labels(self._model, "prompt").inc(prompt)
        self._server.token_count.labels(self._model, "completion").inc(completion)

    def predicted(self, labels: list[str]) -> None:
        """Count the labels of one answer."""
        for label in labels:
            known = label if label in self._labels else OTHER_LABEL
            self._server.prediction_label.labels(self._model, known).inc()

    def refused(self, reason: str) -> None:
        """Count a request refused before any work."""
        self._server.refused(reason)

    def describe(self, digest: str, kind: str) -> None:
        """Say what is served: id of the artifact and whether it is a model or an export."""
        self._server.info.labels(self._model, digest, kind).set(1)
