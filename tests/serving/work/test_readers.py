"""Clients that do not read, or leave: what they ask for ends, and what others get is unharmed."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

pytestmark = pytest.mark.fault
Server = Callable[..., Any]
BODY = {"prompt": "白", "max_tokens": 60, "temperature": 1.5, "stream": True, "stop": "$"}


def streamed(client: httpx.Client, seed: int) -> str:
    with httpx.Client(base_url=client.base_url, timeout=30, trust_env=False) as own:
        reply = own.post("/v1/completions", json={**BODY, "seed": seed})
    assert reply.status_code == 200
    events = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    return "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])


def raw(client: httpx.Client) -> socket.socket:
    """Ask for a stream and return the socket, with nothing read of it."""
    place = urlsplit(str(client.base_url))
    body = json.dumps({**BODY, "max_tokens": 90}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {place.netloc}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    found.connect((place.hostname or "", place.port or 0))
    found.sendall(head.encode() + body)
    return found


def lines(client: httpx.Client, name: str) -> Iterator[float]:
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(name):
            yield float(line.split()[-1])


def test_who_leaves_or_does_not_read_harms_nobody(server: Server) -> None:
    with server("poems", max_concurrency=16, max_queue=16) as client:
        alone = [streamed(client, seed) for seed in range(8)]
        assert len(set(alone)) > 4
        lazy = [raw(client) for _ in range(3)]
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(streamed, client, seed) for seed in range(8)]
            for _ in range(3):
                hasty = raw(client)
                hasty.recv(64)
                hasty.close()
            together = [one.result() for one in waiting]
        assert together == alone
        # A text is written whether it is read or not, so even those that do not read hold no slot.
        deadline = time.monotonic() + 5
        while (
            sum(lines(client, "llmwright_queue_depth")) or sum(lines(client, "llmwright_infl")) > 1
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert streamed(client, 3) == alone[3]
        for one in lazy:
            one.close()
