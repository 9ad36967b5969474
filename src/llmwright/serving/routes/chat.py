"""``/v1/chat/completions``: the next turn of a conversation."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.answers import ChatCompletion
from llmwright.serving.bodies.requests import ChatBody
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.asked import told_ids, usage, wants_usage, writing_of
from llmwright.serving.routes.documented import answers
from llmwright.serving.routes.knowledge import Grounds, citations, grounds_for
from llmwright.serving.served.log_probs import chat_log_probs
from llmwright.serving.work.call import DONE, Call, EventStream, event
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job
from llmwright.serving.writing import Piece

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/chat/completions", responses=answers(ChatCompletion, streams=True))
async def chat_completions(body: ChatBody, request: Request) -> Response:
    """Answer a conversation, written with the chat template the model was trained with."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    model = hosted.model
    model.must("chat", "/v1/chat/completions")
    writing = await writing_of(body, hosted)
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "needs_logprobs", param="top_logprobs")
    messages = [message.plain() for message in body.messages]
    if messages[-1]["role"] == "assistant":
        raise ApiError(400, "assistant_last", param="messages")
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk" if body.stream else "chat.completion",
        "created": int(time.time()),
        "model": model.name,
    }
    service.check_rows(body.n, "n")
    grounds = await grounds_for(body, messages, service, hosted, writing)
    if grounds is not None and not grounds.hits:
        return _unknown(grounds, head, body)
    if grounds is not None:
        messages = [*messages[:-1], {**messages[-1], "content": grounds.prompt}]
    row = model.predictor.read({"messages": messages, "controls": body.controls})
    jobs = [Job([row], writing, body.stream, place) for place in range(body.n)]
    call = Call(request, hosted, jobs)
    if body.stream:
        await call.begin()
        return EventStream(_events(call, head, body, _told(grounds)), call, request)
    pieces = await call.texts()
    choices = [_choice(index, piece) for index, piece in enumerate(pieces)]
    more = {**_prompt_ids(pieces[0]), **_told(grounds, "".join(piece.text for piece in pieces))}
    return JSONResponse({**head, "choices": choices, **more, "usage": usage(pieces, body.n)})


def _choice(index: int, piece: Piece) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": piece.text},
        "logprobs": chat_log_probs(piece),
        "finish_reason": piece.finish_reason,
        **told_ids(piece),
    }


def _told(grounds: Grounds | None, text: str | None = None) -> dict[str, Any]:
    """Return what an answer tells of the passages behind it."""
    if grounds is None:
        return {}
    return {"known": bool(grounds.hits), "citations": citations(grounds.hits, text)}


def _unknown(grounds: Grounds, head: dict[str, Any], body: ChatBody) -> Response:
    """Return that the documents say nothing; no model is asked."""
    head = {**head, **_told(grounds)}
    piece = Piece(grounds.prompt, 0, 0, "stop")
    choices = [_choice(index, piece) for index in range(body.n)]
    if not body.stream:
        return JSONResponse({**head, "choices": choices, "usage": usage([])})
    for choice in choices:
        choice["delta"] = choice.pop("message")
    counts = [{**head, "choices": [], "usage": usage([])}] if wants_usage(body) else []
    chunks = [event(chunk) for chunk in ({**head, "choices": choices}, *counts)]
    headers = {"cache-control": "no-store"}
    return Response("".join([*chunks, DONE]), media_type="text/event-stream", headers=headers)


def _prompt_ids(piece: Piece) -> dict[str, Any]:
    return {} if piece.prompt_ids is None else {"prompt_token_ids": list(piece.prompt_ids)}


async def _events(
    call: Call, head: dict[str, Any], body: ChatBody, grounds: dict[str, Any]
) -> AsyncGenerator[str, None]:
    with_usage = wants_usage(body)
    nothing = {"usage": None} if with_usage else {}

    def chunk(index: int, delta: dict[str, str], **more: Any) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **more}
        return {**head, "choices": [choice], **nothing}

    for index in range(body.n):
        # What the answer is made from comes before it.
        more = {} if index else grounds
        yield event({**chunk(index, {"role": "assistant", "content": ""}), **more})
    told = False
    async for index, piece in call.pieces():
        more = {} if told else _prompt_ids(piece)
        told = True
        delta = {"content": piece.text} if piece.text else {}
        ended = {"logprobs": chat_log_probs(piece), "finish_reason": piece.finish_reason}
        yield event({**chunk(index, delta, **ended, **told_ids(piece)), **more})
    if with_usage:
        last = [call.last[index] for index in sorted(call.last)]
        yield event({**head, "choices": [], "usage": usage(last, body.n)})
    yield DONE
