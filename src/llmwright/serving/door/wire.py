"""The HTTP connection: clients that send or read too slowly, and what is no HTTP at all.

uvicorn's own protocol waits for ever for the end of a header and for a client to read, and answers
what it cannot parse with plain text.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from llmwright.core import locale
from llmwright.serving.door.errors import envelope

# Of a request line with all its headers; more gets 431.
MAX_HEADER_BYTES = 32 * 1024
SLOW, UNREADABLE, TOO_LARGE = 408, 400, 431
CODES = {SLOW: "too_slow", UNREADABLE: "not_http", TOO_LARGE: "headers_too_large"}


class Wire(H11Protocol):
    """One connection.

    Args:
        timeout_seconds: For a whole header, and for an answer that nobody reads.
        **given: What uvicorn gives its protocols.
    """

    def __init__(self, timeout_seconds: float, **given: Any) -> None:
        super().__init__(**given)
        self._seconds = timeout_seconds
        self._heading: asyncio.TimerHandle | None = None
        self._is_silent = True
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a first header."""
        super().connection_made(transport)
        self._heading = self.loop.call_later(self._seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all timers."""
        self._stop_heading()
        self._stop_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first of a header start its clock."""
        self._is_silent = False
        if self._heading is None and self.conn.their_state is h11.IDLE:
            self._heading = self.loop.call_later(self._seconds, self._too_slow)
        super().data_received(data)

    def handle_events(self) -> None:
        """Handle what is complete; a complete header stops its clock."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._stop_heading()

    def pause_writing(self) -> None:
        """Give a client that does not read its answer a while."""
        super().pause_writing()
        self._watch_reader()

    def _watch_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._writing = self.loop.call_later(self._seconds, self._look_at_reader, left)

    def _look_at_reader(self, before: int) -> None:
        """Cut a client off that has read nothing; a slow one has more time."""
        if self.transport.get_write_buffer_size() < before:
            self._watch_reader()
        else:
            self.transport.abort()

    def resume_writing(self) -> None:
        """Go on, the client reads."""
        self._stop_writing()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, with our envelope."""
        error = sys.exc_info()[1]
        hint = getattr(error, "error_status_hint", UNREADABLE)
        self._refuse(hint if hint in CODES else UNREADABLE)

    def _too_slow(self) -> None:
        self._heading = None
        if self._is_silent:
            # Browsers open connections ahead; an answer to nothing would be taken for the next one.
            self.transport.close()
        elif not self.transport.is_closing():
            self._refuse(SLOW)

    def _refuse(self, status: int) -> None:
        """Answer and close; a connection whose answer has begun is only closed."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            code = CODES[status]
            message = locale.text(f"serving.{code}", limit=MAX_HEADER_BYTES)
            body = json.dumps(envelope(status, message, code), ensure_ascii=False).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            reason = STATUS_PHRASES[status]
            head = h11.Response(status_code=status, headers=headers, reason=reason)
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _stop_heading(self) -> None:
        if self._heading is not None:
            self._heading.cancel()
            self._heading = None

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
