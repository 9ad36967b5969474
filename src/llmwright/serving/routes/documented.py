"""How routes are described in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from llmwright.serving.bodies.answers import ErrorAnswer

REFUSALS = {
    400: "The request is wrong; `param` names the field.",
    401: "The API key is missing or wrong.",
    403: "The API key may not do this; `message` says what it lacks.",
    404: "There is no such model or route.",
    408: "The request was sent too slowly.",
    413: "The body is too large.",
    429: "The API key has used up its limit; try again after `Retry-After` seconds.",
    503: "The queue is full or the server is stopping; try again after `Retry-After` seconds.",
    504: "The answer took longer than a request may.",
}


Documented = dict[int | str, dict[str, Any]]


def refusals() -> Documented:
    """Return the errors that all routes share."""
    return {
        status: {"model": ErrorAnswer, "description": text} for status, text in REFUSALS.items()
    }


def success(content: dict[str, Any]) -> dict[str, Any]:
    """Return a good answer, by media type."""
    return {"description": "The answer.", "content": content}


def answers(model: type[BaseModel], streams: bool = False) -> Documented:
    """Return the answers of a route: its own, perhaps as a stream, and the shared refusals."""
    stream = {"text/event-stream": {"schema": {"type": "string"}}} if streams else {}
    return {**refusals(), 200: {**success(stream), "model": model}}
