"""``/v1/completions``: continue a text, or answer an input the way the model was trained to."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.answers import Completion
from llmwright.serving.bodies.requests import CompletionBody
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.asked import told_ids, usage, wants_usage, writing_of
from llmwright.serving.routes.documented import answers
from llmwright.serving.served.log_probs import completion_log_probs
from llmwright.serving.work.call import DONE, Call, EventStream, event
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job
from llmwright.serving.writing import Piece

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/completions", responses=answers(Completion, streams=True))
async def completions(body: CompletionBody, request: Request) -> Response:
    """Write a text.

    Models that continue texts get the prompt as the beginning; models trained on pairs get it as
    the input, just as in training.
    """
    service = service_of(request)
    hosted = await service.pick(body.model)
    model = hosted.model
    model.must("write", "/v1/completions")
    writing = await writing_of(body, hosted)
    if body.best_of not in (None, body.n):
        raise ApiError(400, "best_of", param="best_of")
    prompts = body.prompts()
    service.check_rows(len(prompts) * body.n, "prompt" if body.n == 1 else "n")
    rows = [model.prompt_row(prompt, body.controls) for prompt in prompts]
    jobs = [Job([row], writing, body.stream, place) for row in rows for place in range(body.n)]
    head = {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model.name,
    }
    call = Call(request, hosted, jobs)
    if body.stream:
        await call.begin()
        return EventStream(_events(call, head, body), call, request)
    pieces = await call.texts()
    choices = [_choice(index, piece, 0, whole=True) for index, piece in enumerate(pieces)]
    return JSONResponse({**head, "choices": choices, "usage": usage(pieces, body.n)})


async def _events(
    call: Call, head: dict[str, Any], body: CompletionBody
) -> AsyncGenerator[str, None]:
    with_usage = wants_usage(body)
    # A client that asked for usage finds the key in every chunk, null but in the last.
    nothing = {"usage": None} if with_usage else {}
    lengths: dict[int, int] = {}
    async for index, piece in call.pieces():
        choice = _choice(index, piece, lengths.get(index, 0), whole=index not in lengths)
        lengths[index] = lengths.get(index, 0) + len(piece.text)
        yield event({**head, "choices": [choice], **nothing})
    if with_usage:
        told = usage((call.last[index] for index in sorted(call.last)), body.n)
        yield event({**head, "choices": [], "usage": told})
    yield DONE


def _choice(index: int, piece: Piece, place: int, whole: bool) -> dict[str, Any]:
    """Return a text or a part of it; the first part, and the whole text, tell the prompt's ids."""
    prompt = {"prompt_token_ids": list(piece.prompt_ids)} if whole and piece.prompt_ids else {}
    return {
        "index": index,
        "text": piece.text,
        "logprobs": completion_log_probs(piece, place),
        "finish_reason": piece.finish_reason,
        **prompt,
        **told_ids(piece),
    }
