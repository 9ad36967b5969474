"""Clients that send or read too slowly, and what is no HTTP, over plain sockets."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmwright.serving.door.wire import MAX_HEADER_BYTES

Server = Callable[..., Any]
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
BODY = b'{"prompt": "x", "max_tokens": 1}'


@contextlib.contextmanager
def connected(client: Any) -> Iterator[socket.socket]:
    with socket.create_connection((client.base_url.host, client.base_url.port), 20) as made:
        yield made


def answer(made: socket.socket) -> tuple[int, str | None]:
    """Everything until the server closes: status and code of the error."""
    held = b""
    while part := made.recv(65536):
        held += part
    status = int(held.split(b" ", 2)[1]) if held else 0
    _, _, body = held.partition(b"\r\n\r\n")
    return status, json.loads(body).get("error", {}).get("code") if body else None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", (0, None)),
        (b"GET /li", (408, "too_slow")),
        (b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-a: b\r\n", (408, "too_slow")),
        (HEAD + b"content-length: 32\r\n\r\n" + BODY[:10], (408, "too_slow")),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{", (408, "too_slow")),
        (b"hello\r\n\r\n", (400, "not_http")),
        (b"\x16\x03\x01\x02\x00\x01\x00", (400, "not_http")),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", (400, "not_http")),
        (HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabc", (400, "not_http")),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", (400, "not_http")),
        (b"GET /" + b"x" * MAX_HEADER_BYTES, (431, "headers_too_large")),
    ],
)
def test_slow_and_broken_requests_are_answered_and_closed(
    server: Server, sent: bytes, expected: tuple[int, str | None]
) -> None:
    with server("weather", client_timeout_seconds=0.3) as client:
        with connected(client) as made:
            made.sendall(sent)
            assert answer(made) == expected
        assert client.get("/livez").status_code == 200


def test_a_slow_request_is_answered_while_it_keeps_the_time(server: Server) -> None:
    with server("weather", client_timeout_seconds=5) as client, connected(client) as made:
        whole = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
        for place in range(0, len(whole), 16):
            made.sendall(whole[place : place + 16])
        assert answer(made)[0] == 200


def test_the_clock_of_a_header_begins_anew_on_a_kept_connection(server: Server) -> None:
    request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with server("weather", client_timeout_seconds=0.3) as client, connected(client) as made:
        for _ in range(2):
            made.sendall(request)
            held = b""
            while not held.endswith(b"}"):
                held += made.recv(65536)
            assert held.startswith(b"HTTP/1.1 200")
        made.sendall(request[:20])
        assert answer(made) == (408, "too_slow")


def send_for_ever(made: socket.socket, request: bytes) -> None:
    while True:
        made.sendall(request)


def test_who_does_not_read_is_cut_off(server: Server) -> None:
    with server("weather", client_timeout_seconds=0.5) as client, connected(client) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Far more than the kernel keeps for a socket that nobody reads.
        request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n"
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_for_ever(made, request)
        assert client.get("/livez").status_code == 200
