"""10,000 mixed requests, good and bad: only promised codes come back, and memory does not grow.

    python benchmarks/serving_mixed.py [--requests 10000] [--clients 16] MODEL_FOLDER ...

The folders are models or exports of one project; all are served by one server, each under its
folder's name. Requests are those a careless or hostile client sends, mixed at random with a fixed
seed: whole answers, streams, streams whose client leaves, unknown models and routes, broken JSON,
values beyond their limits, too large bodies. Claims: no answer beyond the promised codes (200, 400,
401, 403, 404, 405, 413, 429, 503, 504), memory growth of at most 5 % after the first thousand.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from measure import machine
from traffic import exchange, free_port, get, post, running

PROMISED = {200, 400, 401, 403, 404, 405, 413, 429, 503, 504}
ROUTES = (
    "/v1/completions", "/v1/chat/completions", "/v1/classify", "/v1/embeddings", "/v1/tag",
    "/v1/seq2seq", "/v1/rerank", "/tokenize", "/detokenize", "/generate",
)  # fmt: skip
WORDS = ["weather", "fine", "today", "北京", "今天", "天气", "很好", "😀", "z\u0301", "\u200b"]


def text(random_: random.Random) -> str:
    return " ".join(random_.choices(WORDS, k=random_.randint(1, 40)))


def good(random_: random.Random, name: str) -> bytes:
    """Return a request that some model answers; others say that they cannot."""
    said = text(random_)
    streams = random_.random() < 0.3
    writing: dict[str, Any] = {
        "model": name, "max_tokens": random_.randint(1, 24), "stream": streams,
        "temperature": random_.choice([0, 0.7, 1.5]), "seed": random_.randint(0, 9),
    }  # fmt: skip
    forms = [
        ("/v1/completions", {**writing, "prompt": said}),
        ("/v1/chat/completions", {**writing, "messages": [{"role": "user", "content": said}]}),
        ("/v1/classify", {"model": name, "input": [said, text(random_)]}),
        ("/v1/embeddings", {"model": name, "input": said}),
        ("/tokenize", {"model": name, "prompt": said}),
        ("/v1/rerank", {"model": name, "query": said, "documents": [said, text(random_)]}),
    ]
    return post(*random_.choice(forms))


def bad(random_: random.Random, name: str) -> bytes:
    """Return a request that nothing answers."""
    route = random_.choice(ROUTES)
    bodies: list[Any] = [
        {}, [], None, 3, "text", {"model": "nobody", "prompt": "x", "input": "x"},
        {"model": name, "prompt": "x", "max_tokens": random_.choice([0, -1, 10**9, 1.5, "9"])},
        {"model": name, "messages": [], "input": [], "prompt": []},
        {"model": name, "prompt": "word " * 20_000}, {"model": name, "input": "\ud800"},
        {"model": name, "prompt": "x", "temperature": 1e308, "top_p": -1},
        {"model": name, "prompt": "x", "stop": ["a"] * 1000}, {"nothing": [[[]]]},
        {"model": name, "prompt": "x" * 2_000_000},
    ]  # fmt: skip
    raw = [
        b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        f"DELETE {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode(),
        broken(route, b'{"prompt": "x"'), broken(route, b"[" * 50_000), broken(route, b"\xff{}"),
    ]  # fmt: skip
    if random_.random() < 0.3:
        return random_.choice(raw)
    return post(route, random_.choice(bodies))


def broken(route: str, content: bytes) -> bytes:
    head = f"POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    given = parser.parse_args()
    print(machine())
    names = [path.name for path in given.models]
    random_ = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [
            sys.executable, "-m", "llmwright.cli", "serve", str(given.models[0]),
            "--name", names[0], "--port", str(port), "--project", folder,
        ]  # fmt: skip
        for name, path in zip(names[1:], given.models[1:], strict=True):
            command += [f"models.{name}={path}"]
        codes: collections.Counter[int] = collections.Counter()
        with running(command, port, "/readyz") as (pid, _):
            process = psutil.Process(pid)
            first = 0
            for done in range(0, given.requests, 1000):
                asked = [
                    random_.choice((good, good, bad))(random_, random_.choice(names))
                    for _ in range(1000)
                ]
                codes.update(reply.status for reply in exchange(port, asked, given.clients))
                used = process.memory_full_info().uss
                first = first or used
                print(f"  {done + 1000} requests, {used / 1e6:.0f} MB")
            (alive,) = exchange(port, [get("/readyz")])
    print(f"codes: {dict(sorted(codes.items()))}")
    print(f"memory after all / after the first thousand: {used / first:.3f}")
    unexpected = set(codes) - PROMISED
    if unexpected or alive.status != 200:
        raise SystemExit(f"unexpected codes {unexpected}, ready {alive.status}")


if __name__ == "__main__":
    main()
