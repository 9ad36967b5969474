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
from llmwright.serving.routes.completions import usage, wants_usage, writing_of
from llmwright.serving.routes.documented import answers
from llmwright.serving.served.log_probs import chat_log_probs
from llmwright.serving.work.call import DONE, Call, EventStream, event
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/chat/completions", responses=answers(ChatCompletion, streams=True))
async def chat_completions(body: ChatBody, request: Request) -> Response:
    """Answer a conversation, written with the chat template the model was trained with."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    model = hosted.model
    model.must("chat", "/v1/chat/completions")
    writing = writing_of(body, hosted)
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
    row = model.predictor.read({"messages": messages, "controls": body.controls})
    call = Call(request, hosted, [Job([row], writing, body.stream)])
    if body.stream:
        await call.begin()
        return EventStream(_events(call, head, wants_usage(body)), call, request)
    (piece,) = await call.texts()
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": piece.text},
        "logprobs": chat_log_probs(piece),
        "finish_reason": piece.finish_reason,
    }
    return JSONResponse({**head, "choices": [choice], "usage": usage([piece])})


async def _events(call: Call, head: dict[str, Any], with_usage: bool) -> AsyncGenerator[str, None]:
    nothing = {"usage": None} if with_usage else {}

    def chunk(delta: dict[str, str], reason: str | None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event({**head, "choices": [choice], **nothing})

    yield chunk({"role": "assistant", "content": ""}, None)
    async for piece in call.pieces():
        yield chunk({"content": piece.text} if piece.text else {}, piece.finish_reason)
    if with_usage and call.last is not None:
        yield event({**head, "choices": [], "usage": usage([call.last])})
    yield DONE
