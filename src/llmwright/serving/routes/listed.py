"""What the routes that answer texts one by one share: reading rows, one call, one list."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from llmwright.inference.answers import Prediction
from llmwright.serving.work.call import Call
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.worker import Job

Describe = Callable[[int, dict[str, Any]], dict[str, Any]]


async def found_for(request: Request, hosted: Hosted, rows: Sequence[Any]) -> list[Prediction]:
    """Return the answer to each row; requests that wait together share a batch."""
    return await Call(request, hosted, [Job(rows)]).answers()


def listed(kind: str, hosted: Hosted, found: Sequence[Prediction], describe: Describe) -> Response:
    """Return the answers as one list with token counts.

    Args:
        kind: What ids begin with.
        hosted: Whose answers they are.
        found: The answers, in the order of the texts.
        describe: Place and answer of a text → what is said of it besides its place.
    """
    read = sum(one.num_input_tokens for one in found)
    data = [_entry(index, one.answer, describe) for index, one in enumerate(found)]
    return JSONResponse(
        {
            "id": f"{kind}-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": hosted.name,
            "data": data,
            "usage": {"prompt_tokens": read, "completion_tokens": 0, "total_tokens": read},
        }
    )


def _entry(index: int, answer: dict[str, Any], describe: Describe) -> dict[str, Any]:
    cut = {"truncated": True} if answer.get("truncated") else {}
    return {"index": index, **describe(index, answer), **cut}
