"""What HTTP costs: the same row asked in process and through a server of its own.

    python benchmarks/serving.py MODEL_FOLDER [--requests 400]

One client on one kept-alive connection, so the difference is what the server itself adds to a
request: reading, checking, queueing, batching of one, logging, answering.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmwright.core.artifacts import Artifact
from llmwright.inference.predictor import Predictor

WARM_UP = 20


def milliseconds(call: Callable[[], Any], count: int) -> list[float]:
    """Return the duration of each call, the first ones left out, sorted."""
    found = []
    for _ in range(count + WARM_UP):
        started = time.perf_counter()
        call()
        found.append((time.perf_counter() - started) * 1000)
    return sorted(found[WARM_UP:])


def line(name: str, found: list[float]) -> str:
    p95 = found[int(len(found) * 0.95)]
    return f"{name:28} p50 {statistics.median(found):7.2f} ms   p95 {p95:7.2f} ms"


@contextmanager
def served(artifact: Artifact) -> Iterator[http.client.HTTPConnection]:
    """Yield a connection to a server in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        command = [
            sys.executable, "-m", "llmwright.cli", "serve", str(artifact.path),
            "--project", folder, "--port", "0", "--ready-file", str(ready),
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while not ready.is_file():
                if process.poll() is not None:
                    raise SystemExit("The server ended before it was ready.")
                time.sleep(0.05)
            port = json.loads(ready.read_text(encoding="utf-8"))["port"]
            yield http.client.HTTPConnection("127.0.0.1", port)
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    artifact = Artifact.open(options.model)
    with served(artifact) as connection:

        def ask(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
            content = json.dumps(body) if body is not None else None
            method = "GET" if body is None else "POST"
            connection.request(method, path, content, {"content-type": "application/json"})
            reply = connection.getresponse()
            found: dict[str, Any] = json.loads(reply.read())
            assert reply.status == 200, found
            return found

        field = ask("/v1/models")["data"][0]["fields"]["input"][0]
        row = {field: "where is my card"}
        through = milliseconds(lambda: ask("/generate", row), options.requests)
        health = milliseconds(lambda: ask("/livez"), options.requests)
    predictor = Predictor.open(artifact.path)
    inside = milliseconds(lambda: list(predictor.predict([predictor.read(row)])), options.requests)
    print(line("in process", inside))
    print(line("POST /generate", through))
    print(line("GET /livez", health))
    added = statistics.median(through) - statistics.median(inside)
    print(f"added by the server: {added:.2f} ms (median)")


if __name__ == "__main__":
    main()
