"""``/tokenize`` and ``/detokenize``: with the model's own tokenizer, cleaners and template."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.data.records import Row
from llmwright.serving.bodies.tokens import DetokenizeBody, Detokenized, TokenizeBody, Tokenized
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.documented import answers
from llmwright.serving.work.call import Call
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job

router = APIRouter(tags=["Tokens"])


@router.post("/tokenize", responses=answers(Tokenized))
async def tokenize(body: TokenizeBody, request: Request) -> Response:
    """Return the tokens of a text or of a conversation, as the model reads them."""
    hosted = await service_of(request).pick(body.model)
    if (body.prompt is None) == (body.messages is None):
        code = "missing_field" if body.prompt is None else "two_fields"
        raise ApiError(400, code, param="prompt", names="prompt / messages")
    if body.messages is not None:
        hosted.model.must("chat", "/tokenize")
        given: Row = {"messages": [turn.plain() for turn in body.messages]}
    else:
        given = {"text": body.prompt}
    # In the model's thread: a tokenizer is not used by two at once.
    row = {**given, "framed": body.add_special_tokens}
    job = Job([row], answer=hosted.model.tokenized)
    (found,) = await Call(request, hosted, [job]).answers()
    return JSONResponse(found.answer)


@router.post("/detokenize", responses=answers(Detokenized))
async def detokenize(body: DetokenizeBody, request: Request) -> Response:
    """Return the text of tokens."""
    hosted = await service_of(request).pick(body.model)
    hosted.model.check_ids(body.tokens, "tokens")
    row = {"tokens": np.array(body.tokens, dtype=np.int64), "plain": body.skip_special_tokens}
    job = Job([row], answer=hosted.model.detokenized)
    (found,) = await Call(request, hosted, [job]).answers()
    return JSONResponse(found.answer)
