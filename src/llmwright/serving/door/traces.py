"""Traces of requests, sent to an OpenTelemetry collector; off unless an address is given.

One span per request, made when it is over, with counts and times and never any content. The
libraries are imported only here, and only when traces are on.
"""

from __future__ import annotations

import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

from llmwright.core.errors import ResourceError
from llmwright.serving.door import trace_names as names

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from llmwright.serving.door.record import Record

EXPORT_SECONDS = 5.0


class Traces:
    """Sends a span for each request.

    Sampling, headers and certificates follow OpenTelemetry's own environment variables
    (``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS`` …).

    Args:
        endpoint: Where spans go, as in ``http://localhost:4318/v1/traces`` (OTLP over HTTP).

    Raises:
        ResourceError: The libraries are not installed (``SERVE-017``).
    """

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind, StatusCode
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ResourceError("SERVE-017", where="otlp_endpoint", reason=str(error)) from error
        version = metadata.version("llmwright")
        named = {names.SERVICE: names.PROVIDER_NAME, names.VERSION: version}
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("llmwright.serving", version)
        self._parents = TraceContextTextMapPropagator()
        self._kind, self._failed = SpanKind.SERVER, StatusCode.ERROR

    def tell(
        self, record: Record, headers: Headers, method: str, route: str, status: int, seconds: float
    ) -> None:
        """Send what is noted about a request that is over.

        Args:
            record: What is noted.
            headers: The request's; ``traceparent`` says which trace it belongs to.
            method: As in HTTP.
            route: One of the known routes.
            status: What was answered.
            seconds: From arrival to end.
        """
        operation = names.OPERATION_OF_ROUTE.get(route)
        named = f"{operation} {record.model}" if operation and record.model else f"{method} {route}"
        ended = time.time_ns()
        span = self._tracer.start_span(
            named,
            context=self._parents.extract(headers),
            kind=self._kind,
            attributes=attributes(record, method, route, status),
            start_time=ended - int(seconds * 1e9),
        )
        if status >= 500:
            span.set_status(self._failed)
        span.end(ended)

    def close(self) -> None:
        """Send what still waits."""
        self._provider.shutdown()


def attributes(record: Record, method: str, route: str, status: int) -> dict[str, Any]:
    """Return what a span tells about a request: counts and names of ours, no content."""
    model = record.model
    found = {
        names.METHOD: method,
        names.ROUTE: route,
        names.STATUS: status,
        names.ERROR: str(status) if status >= 400 else None,
        names.OPERATION: names.OPERATION_OF_ROUTE.get(route),
        names.PROVIDER: names.PROVIDER_NAME if model else None,
        names.REQUEST_MODEL: model,
        names.RESPONSE_MODEL: model,
        names.INPUT_TOKENS: record.prompt_tokens,
        names.OUTPUT_TOKENS: record.completion_tokens,
        names.FINISH_REASONS: [record.finish_reason] if record.finish_reason else None,
        names.TIME_TO_FIRST: record.first_token_seconds,
        names.REQUEST_ID: record.id,
        names.KEY: record.key.id if record.key else None,
        names.CACHE: record.cache,
        names.GUARDS: record.flags or None,
    }
    return {name: value for name, value in found.items() if value is not None}
