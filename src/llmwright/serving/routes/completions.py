"""``/v1/completions``: continue a text, or answer an input the way the model was trained to."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.answers import Completion
from llmwright.serving.bodies.requests import CompletionBody, TextBody
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.documented import answers
from llmwright.serving.served.log_probs import completion_log_probs
from llmwright.serving.work.call import DONE, Call, EventStream, event
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job
from llmwright.serving.writing import Piece, Writing

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
    writing = writing_of(body, hosted)
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    service.check_rows(len(prompts), "prompt")
    if body.stream and len(prompts) > 1:
        raise ApiError(400, "one_stream", param="prompt")
    jobs = [
        Job([model.prompt_row(prompt, body.controls)], writing, body.stream) for prompt in prompts
    ]
    head = {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model.name,
    }
    call = Call(request, hosted, jobs)
    if body.stream:
        await call.begin()
        return EventStream(_events(call, head, wants_usage(body)), call, request)
    pieces = await call.texts()
    choices = [_choice(index, piece) for index, piece in enumerate(pieces)]
    return JSONResponse({**head, "choices": choices, "usage": usage(pieces)})


async def _events(call: Call, head: dict[str, Any], with_usage: bool) -> AsyncGenerator[str, None]:
    # A client that asked for usage finds the key in every chunk, null but in the last.
    nothing = {"usage": None} if with_usage else {}
    async for piece in call.pieces():
        yield event({**head, "choices": [_choice(0, piece)], **nothing})
    if with_usage and call.last is not None:
        yield event({**head, "choices": [], "usage": usage([call.last])})
    yield DONE


def _choice(index: int, piece: Piece) -> dict[str, Any]:
    return {
        "index": index,
        "text": piece.text,
        "logprobs": completion_log_probs(piece),
        "finish_reason": piece.finish_reason,
    }


def usage(pieces: Sequence[Piece]) -> dict[str, int]:
    """Return the token counts of the texts whose last pieces are given."""
    prompt = sum(piece.prompt_tokens for piece in pieces)
    completion = sum(piece.completion_tokens for piece in pieces)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def wants_usage(body: TextBody) -> bool:
    """Say whether a stream ends with a chunk of token counts."""
    return body.stream_options is not None and body.stream_options.include_usage


def writing_of(body: TextBody, hosted: Hosted) -> Writing:
    """Return how a text is to be written; refuse what a single field's bounds cannot tell.

    Raises:
        ApiError: More tokens than the server allows, stream options without a stream, or
            log-probabilities with one (400).
    """
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "needs_stream", param="stream_options")
    writing = hosted.bounded(body.writing())
    if writing.num_scores is not None and body.stream:
        raise ApiError(400, "no_streamed_logprobs", param="logprobs")
    return writing
