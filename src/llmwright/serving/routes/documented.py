"""How routes are described in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from llmwright.serving.bodies.answers import ErrorAnswer

REFUSALS = {
    400: "The request is wrong; `param` names the field.",
    401: "The API key is missing or wrong.",
    404: "There is no such model or route.",
    413: "The body is too large.",
    503: "The queue is full or the server is stopping; try again after `Retry-After` seconds.",
    504: "The answer took longer than a request may.",
}


def answers(model: type[BaseModel], streams: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route: its own, and the refusals all routes share."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": text} for status, text in REFUSALS.items()
    }
    found[200] = {"model": model, "description": "The answer."}
    if streams:
        found[200]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return found
