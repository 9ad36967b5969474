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
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmwright.serving.config import ServeConfig, is_loopback
from llmwright.serving.door.auth import HOLDER, OPEN_ROUTES, Keys, scope_of
from llmwright.serving.door.errors import (
    ApiError,
    ClientLeft,
    describe,
    headers_of,
    language_of,
)
from llmwright.serving.door.keys import Key
from llmwright.serving.door.quota import Quotas
from llmwright.serving.door.record import Record
from llmwright.serving.door.traces import Traces
from llmwright.serving.metrics import Metrics

ACCESS = logging.getLogger("llmwright.access")
# Routes that are asked every few seconds; they fill logs with nothing, unless their answer changes.
QUIET_ROUTES = (*OPEN_ROUTES, "/metrics")
OTHER_ROUTE = "other"
# What proxies log for a client that left before its answer.
CLIENT_LEFT = 499

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """ASGI middleware around the whole app.

    Args:
        app: What answers.
        keys: Keys that open it.
        metrics: Where requests are counted.
        routes: Known paths; others are counted together.
        config: Limits of bodies, and whether each request is logged.
        traces: Where each request is told; nowhere when None.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        metrics: Metrics,
        routes: frozenset[str],
        config: ServeConfig,
        traces: Traces | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._quotas = Quotas()
        self._metrics = metrics
        self._routes = routes
        self._config = config
        self._traces = traces
        # Health route → its answer before, 200 at first.
        self._last: dict[str, int] = {}

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
                MutableHeaders(scope=message).update(record.headers())
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
            answer = JSONResponse(body, code, headers_of(error, code))
            await answer(scope, receive, send_and_note)
        finally:
            self._metrics.inflight.dec()
            self._note(scope, record, status, time.monotonic() - started)

    async def _enter(
        self, scope: Scope, headers: Headers, record: Record, receive: Receive, send: Send
    ) -> None:
        # A page of another site that made its own name point here gets nothing.
        if not self._keys and not _is_here(headers.get("host", ""), self._config.host):
            self._metrics.refused("wrong_host")
            raise ApiError(403, "wrong_host", host=headers["host"][:100])
        receive = self._bounded(headers, receive)
        if scope["path"] in OPEN_ROUTES:
            await self._app(scope, receive, send)
            return
        key = self._known(scope, headers)
        record.key = key
        try:
            self._quotas.enter(key)
        except ApiError as error:
            self._metrics.refused(error.code)
            raise
        whose = HOLDER.set(key)
        try:
            await self._app(scope, receive, self._with_quota(key, send))
        finally:
            HOLDER.reset(whose)
            self._quotas.leave(key, record.num_tokens)

    def _known(self, scope: Scope, headers: Headers) -> Key:
        """Return the key of a request that it opens the route for.

        Raises:
            ApiError: There is none (401), or it opens other routes (403).
        """
        key = self._keys.holder(headers)
        if key is None:
            self._metrics.refused("unauthorized")
            challenge = 'Bearer realm="llmwright"'
            if headers.get("sec-fetch-mode") == "navigate":
                challenge = 'Basic realm="llmwright", charset="UTF-8"'
            raise ApiError(401, "invalid_api_key", headers={"www-authenticate": challenge})
        needed = scope_of(scope["path"])
        if not key.opens(needed):
            self._metrics.refused("forbidden")
            raise ApiError(403, "scope_missing", scope=needed, path=scope["path"][:100])
        return key

    def _with_quota(self, key: Key, send: Send) -> Send:
        """Return a sender that tells what the key has left, where it has limits."""
        if key.requests_per_minute is None and key.tokens_per_minute is None:
            return send

        async def send_with_quota(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._quotas.headers(key))
            await send(message)

        return send_with_quota

    def _bounded(self, headers: Headers, receive: Receive) -> Receive:
        """Return a receiver of bodies that are neither too large nor too slow.

        Raises:
            ApiError: The body is declared too large, and refused unread (413).
        """
        limit, length = self._config.max_body_bytes, headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            self._metrics.refused("body_too_large")
            raise ApiError(413, "body_too_large", limit=limit)
        return _at_most(limit, self._config.client_timeout_seconds, receive)

    def _note(self, scope: Scope, record: Record, status: int, seconds: float) -> None:
        path = scope["path"]
        route = path if path in self._routes else OTHER_ROUTE
        if record.disconnected or not status:
            status = CLIENT_LEFT
            self._metrics.disconnects.inc()
        self._metrics.request(route, record.model, status, seconds)
        if route in QUIET_ROUTES and status == self._last.get(route, 200):
            return
        self._last[route] = status
        if self._traces is not None:
            headers = Headers(scope=scope)
            self._traces.tell(record, headers, scope["method"], route, status, seconds)
        if self._config.access_log:
            self._log(record, scope["method"], route, status, seconds)

    def _log(self, record: Record, method: str, route: str, status: int, seconds: float) -> None:
        line: dict[str, Any] = {
            "time": round(time.time(), 3),
            "level": "error" if status >= 500 else "info",
            "request_id": record.id,
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": _milliseconds(seconds),
            "model": record.model,
            "key": record.key.id if record.key else None,
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
            "first_token_ms": _milliseconds(record.first_token_seconds),
            "finish_reason": record.finish_reason,
            "cache": record.cache,
            "guards": record.flags or None,
        }
        told = {name: value for name, value in line.items() if value is not None}
        ACCESS.info(json.dumps(told, ensure_ascii=False))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _is_here(header: str, own: str) -> bool:
    """Say whether a ``Host`` header names this machine; programs may leave it out, not browsers."""
    try:
        name = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    return not header or name == own.lower() or is_loopback(name)


def _at_most(limit: int, seconds: float, receive: Receive) -> Receive:
    """Return a receiver that takes no more than so many bytes, and waits so long for all of them.

    The errors are the framework's: no others pass through its reading of bodies unchanged.
    """
    total = 0
    complete = False
    deadline = asyncio.get_running_loop().time() + seconds

    async def receive_some() -> Message:
        nonlocal total, complete
        if complete:
            # Only that the client leaves is still to come, whenever that may be.
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, headers={"connection": "close"}) from None
        total += len(message.get("body", b""))
        if total > limit:
            raise HTTPException(413)
        complete = not message.get("more_body", False)
        return message

    return receive_some
