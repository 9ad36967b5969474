"""A connection to a server that speaks OpenAI's protocol: questions, answers, streams of texts."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx

from llmwright.core.errors import InputError, LLMwrightError, ResourceError, closest

TIMEOUT_SECONDS = 120.0
MAX_SHOWN = 100
# What a server says that could answer another time.
BUSY = (429, *range(500, 600))


class Connection:
    """Asks a server.

    Args:
        address: With or without ``/v1`` at its end.
        served_model: Name of the model; the first the server lists when not given.
        api_key: Sent as a bearer token.
        timeout_seconds: For one answer, or from one piece of a text to the next.

    Attributes:
        card: What the server says about the model.

    Raises:
        InputError: The server cannot be reached (``INFER-007``), refuses (``INFER-008``), answers
            something else (``INFER-009``), has no such model (``INFER-013``) or none at all
            (``INFER-024``).
    """

    def __init__(
        self,
        address: str,
        served_model: str | None = None,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.address = address.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._client = httpx.Client(
                base_url=self.address, headers=headers, timeout=timeout_seconds, trust_env=False
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError("INFER-007", url=self.address, reason=str(error)) from error
        try:
            self.card = self._pick(served_model)
        except BaseException:
            self._client.close()
            raise
        self.is_ours = self.card.get("owned_by") == "llmwright"

    @property
    def model(self) -> str:
        """Name of the model there."""
        return str(self.card["id"])

    def _pick(self, served_model: str | None) -> dict[str, Any]:
        route = "/v1/models"
        reply = self.fetch("GET", route)
        try:
            cards: dict[str, dict[str, Any]] = {str(card["id"]): card for card in reply["data"]}
        except (KeyError, TypeError) as error:
            raise self.strange(route, reply) from error
        if not cards:
            raise InputError("INFER-024", url=self.address)
        name = served_model or next(iter(cards))
        if name not in cards:
            hint = closest(name, cards)
            raise InputError("INFER-013", url=self.address, name=name, hint=hint)
        return cards[name]

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._client.close()

    def fetch(self, method: str, route: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON a route answers.

        Raises:
            InputError: As the class.
        """
        try:
            response = self._client.request(method, route, json=body)
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        if response.status_code != httpx.codes.OK:
            raise self._refusal(route, response.status_code, response.text)
        try:
            return response.json()
        except ValueError as error:
            raise self.strange(route, response.text) from error

    def stream(self, route: str, body: dict[str, Any], line: Line) -> Iterator[dict[str, Any]]:
        """Yield the JSON of each event of a stream, to its end or until `line` is cut.

        An answer that comes in one piece is its only event.

        Raises:
            InputError, ResourceError: The server cannot be reached, refuses or breaks off.
        """
        try:
            with self._client.stream("POST", route, json=body) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise self._refusal(route, response.status_code, response.text)
                line.open(response)
                if response.headers.get("content-type", "").startswith("application/json"):
                    yield self._whole(route, response.read())
                else:
                    yield from self._events(route, response)
        except httpx.HTTPError as error:
            if not line.is_cut:
                raise self._silent(error, ResourceError) from error

    def _whole(self, route: str, content: bytes) -> dict[str, Any]:
        try:
            found: dict[str, Any] = dict(json.loads(content))
        except (ValueError, TypeError) as error:
            raise self.strange(route, content) from error
        return found

    def _events(self, route: str, response: httpx.Response) -> Iterator[dict[str, Any]]:
        for said in response.iter_lines():
            value = said.removeprefix("data:").strip()
            if not said.startswith("data:"):
                continue
            if value == "[DONE]":
                return
            try:
                event: dict[str, Any] = json.loads(value)
                failed = event.get("error")
            except (ValueError, AttributeError) as error:
                raise self.strange(route, value) from error
            if failed:
                raise self._refusal(route, 500, value)
            yield event

    def _silent(
        self, error: httpx.HTTPError, kind: type[LLMwrightError] = InputError
    ) -> LLMwrightError:
        return kind("INFER-007", url=self.address, reason=str(error) or type(error).__name__)

    def _refusal(self, route: str, status: int, text: str) -> LLMwrightError:
        try:
            detail = json.loads(text)["error"]
            reason = str(detail["message"] if isinstance(detail, dict) else detail)
        except (ValueError, KeyError, TypeError):
            reason = text.strip()[:200]
        kind = ResourceError if status in BUSY else InputError
        return kind("INFER-008", url=self.address + route, status=status, reason=reason)

    def strange(self, route: str, reply: Any) -> InputError:
        """Return the error of an answer that is none."""
        found = " ".join(str(reply).split())[:MAX_SHOWN]
        return InputError("INFER-009", url=self.address + route, found=found)


class Line:
    """The open end of one stream, by which another thread can cut it off."""

    def __init__(self) -> None:
        self.is_cut = False
        self._socket: Any = None

    def open(self, response: httpx.Response) -> None:
        """Note what is to be cut; at once where that was asked for already."""
        self._socket = response.extensions["network_stream"].get_extra_info("socket")
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        """End the stream now, also for a reader that waits: the server sees its client leave."""
        self.is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
