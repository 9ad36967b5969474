from __future__ import annotations

import socket

import pytest

from llmwright.core.errors import ResourceError
from llmwright.serving.server import address_of, listen


def test_a_port_in_use_is_said_with_who_has_it() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ResourceError, match="SERVE-002") as raised:
            listen("127.0.0.1", port)
    assert str(port) in raised.value.message
    assert "pid" in raised.value.message
    assert "--port" in raised.value.fix


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_a_foreign_address_is_said(host: str) -> None:
    with pytest.raises(ResourceError, match="SERVE-005"):
        listen(host, 0)


def test_a_free_port_is_found_and_told() -> None:
    with listen("127.0.0.1", 0) as listener:
        host, port = listener.getsockname()
        assert address_of(listener) == f"http://127.0.0.1:{port}"
        # It listens already: a client that is early waits instead of being refused.
        with socket.create_connection((host, port), timeout=1):
            pass


def test_small_answers_are_sent_at_once() -> None:
    # asyncio switches Nagle's algorithm off only for sockets that are named as TCP.
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
