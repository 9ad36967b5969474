"""The door every request passes: request id, key, time, metrics, access log, last-resort errors.

It is plain ASGI, because it must see streams end and clients leave, at little cost per request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmwright.serving.config import is_loopback
from llmwright.serving.door.auth import OPEN_ROUTES, Keys
from llmwright.serving.door.errors import ApiError, ClientLeft, describe, language_of
from llmwright.serving.metrics import Metrics

ACCESS = logging.getLogger("llmwright.access")
# Routes that are asked every few seconds; they fill logs with nothing, unless they fail.
QUIET_ROUTES = ("/livez", "/readyz", "/metrics")
OTHER_ROUTE = "other"
# What proxies log for a client that left before its answer.
CLIENT_LEFT = 499

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class Record:
    """What is noted about one request, for its log line; routes fill in what they know."""

    id: str
    key: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    disconnected: bool = False

    def usage(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Note token counts; several texts of one request add up."""
        self.prompt_tokens = (self.prompt_tokens or 0) + prompt_tokens
        self.completion_tokens = (self.completion_tokens or 0) + completion_tokens


class Gate:
    """ASGI middleware around the whole app.

    Args:
        app: What answers.
        keys: Keys that open it.
        host: Address it listens on. Without keys only requests that name it or this machine are
            let in: a page of another site that made its own name point here gets nothing.
        metrics: Where requests are counted.
        routes: Known paths; others are counted together.
        max_body_bytes: Largest body; what is declared larger is refused unread.
        access_log: Whether each request is logged.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        host: str,
        metrics: Metrics,
        routes: frozenset[str],
        max_body_bytes: int,
        access_log: bool = True,
    ) -> None:
        self._app = app
        self._keys = keys
        self._host = host
        self._metrics = metrics
        self._routes = routes
        self._max_body_bytes = max_body_bytes
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or refuse it, and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        record = Record(given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        scope["record"] = record
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.id
            await send(message)

        self._metrics.inflight.inc()
        try:
            await self._enter(scope, headers, record, receive, send_and_note)
        except asyncio.CancelledError:
            # Only a stopping server that has waited long enough cancels requests.
            self._metrics.num_cut_off += 1
            raise
        except ClientLeft:
            record.disconnected = True
        except Exception as error:
            # An answer that has begun cannot become an error; the connection is cut instead.
            if status:
                raise
            code, body = describe(error, language_of(headers.get("accept-language")))
            extra = error.headers if isinstance(error, ApiError) else None
            await JSONResponse(body, code, extra)(scope, receive, send_and_note)
        finally:
            self._metrics.inflight.dec()
            self._note(scope, record, status, time.monotonic() - started)

    async def _enter(
        self, scope: Scope, headers: Headers, record: Record, receive: Receive, send: Send
    ) -> None:
        if not self._keys and not _is_here(headers.get("host", ""), self._host):
            self._metrics.refused("wrong_host")
            raise ApiError(403, "wrong_host", host=headers["host"][:100])
        record.key = self._keys.holder(headers)
        if record.key is None and scope["path"] not in OPEN_ROUTES:
            self._metrics.refused("unauthorized")
            challenge = 'Bearer realm="llmwright"'
            if headers.get("sec-fetch-mode") == "navigate":
                challenge = 'Basic realm="llmwright", charset="UTF-8"'
            raise ApiError(401, "invalid_api_key", headers={"www-authenticate": challenge})
        length = headers.get("content-length")
        if length is None:
            receive = _at_most(self._max_body_bytes, receive)
        elif length.isdigit() and int(length) > self._max_body_bytes:
            self._metrics.refused("body_too_large")
            raise ApiError(413, "body_too_large", limit=self._max_body_bytes)
        await self._app(scope, receive, send)

    def _note(self, scope: Scope, record: Record, status: int, seconds: float) -> None:
        path = scope["path"]
        route = path if path in self._routes else OTHER_ROUTE
        if record.disconnected or not status:
            status = CLIENT_LEFT
            self._metrics.disconnects.inc()
        self._metrics.request(route, record.model, status, seconds)
        if not self._access_log or (route in QUIET_ROUTES and status == 200):
            return
        line: dict[str, Any] = {
            "time": round(time.time(), 3),
            "level": "error" if status >= 500 else "info",
            "request_id": record.id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
            "model": record.model,
            "key": record.key,
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
            "finish_reason": record.finish_reason,
        }
        told = {name: value for name, value in line.items() if value is not None}
        ACCESS.info(json.dumps(told, ensure_ascii=False))


def _is_here(header: str, own: str) -> bool:
    """Say whether a ``Host`` header names this machine; programs may leave it out, not browsers."""
    try:
        name = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    return not header or name == own.lower() or is_loopback(name)


def _at_most(limit: int, receive: Receive) -> Receive:
    """Return a receiver for bodies of undeclared length, which refuses to take more than this."""
    total = 0

    async def receive_some() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            # The one error that passes through the framework's reading of bodies unchanged.
            raise HTTPException(413)
        return message

    return receive_some
