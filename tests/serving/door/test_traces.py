"""Traces against a collector in this process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import Keys
from llmwright.serving.door.traces import Traces
from llmwright.serving.served.model import ServedModel
from llmwright.serving.server import background

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextlib.contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A server that keeps what is sent to it."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        finally:
            server.shutdown()
            thread.join()


def spans_in(received: list[bytes]) -> list[Any]:
    requests = [ExportTraceServiceRequest.FromString(part) for part in received]
    return [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def plain(span: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        if kind == "array_value":
            value = [each.string_value for each in value.values]
        found[pair.key] = value
    return found


def test_requests_are_told_without_their_content(models: Callable[[str], ServedModel]) -> None:
    config = ServeConfig(port=0, access_log=False)
    with collector() as (endpoint, received):
        traces = Traces(endpoint)
        app = create_app(models("weather"), config, Keys({"app": "secret"}), traces=traces)
        headers = {"authorization": "Bearer secret", "traceparent": PARENT}
        with (
            background(app, config) as address,
            httpx.Client(base_url=address, timeout=30, trust_env=False) as client,
        ):
            body = {"prompt": "今天天气很好", "max_tokens": 3}
            client.post("/v1/completions", json=body, headers=headers)
            client.post("/v1/completions", json={"prompt": 1}, headers=headers)
            client.get("/no/such/secret-path", headers={"authorization": "Bearer secret"})
            client.get("/livez")
        traces.close()
    spans = spans_in(received)
    assert [span.name for span in spans] == [
        "text_completion weather",
        "POST /v1/completions",
        "GET other",
    ]
    first = plain(spans[0])
    assert first["gen_ai.operation.name"] == "text_completion"
    assert first["gen_ai.request.model"] == "weather"
    assert first["gen_ai.usage.input_tokens"] == 7
    assert first["gen_ai.usage.output_tokens"] == 3
    assert first["gen_ai.response.finish_reasons"] == ["length"]
    assert first["gen_ai.response.time_to_first_chunk"] > 0
    assert first["http.response.status_code"] == 200
    assert first["llmwright.key_id"] == "app"
    assert spans[0].trace_id.hex() == PARENT.split("-")[1]
    assert spans[0].parent_span_id.hex() == PARENT.split("-")[2]
    assert spans[0].end_time_unix_nano > spans[0].start_time_unix_nano
    assert plain(spans[1])["error.type"] == "400"
    whole = b"".join(received)
    for hidden in ("天气", "secret"):
        assert hidden.encode() not in whole


def test_a_collector_that_is_away_harms_nobody(
    models: Callable[[str], ServedModel], caplog: Any
) -> None:
    config = ServeConfig(port=0, access_log=False)
    traces = Traces("http://127.0.0.1:9/v1/traces")
    app = create_app(models("weather"), config, traces=traces)
    with background(app, config) as address:
        reply = httpx.post(f"{address}/generate", json={"description": "外面很冷"}, trust_env=False)
        assert reply.status_code == 200
    traces.close()


def test_nothing_is_imported_while_traces_are_off() -> None:
    code = (
        "import sys\n"
        "import llmwright.serving.serve\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', "
        "'opentelemetry.exporter', 'opentelemetry.proto'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
