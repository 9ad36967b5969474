"""``/v1/seq2seq``: texts to texts, as the model learned it."""

from __future__ import annotations

import time
import uuid

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.texts import Seq2SeqBody, Texts2Texts, as_list
from llmwright.serving.routes.asked import usage
from llmwright.serving.routes.documented import answers
from llmwright.serving.work.call import Call
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job

router = APIRouter(tags=["Texts"])


@router.post("/v1/seq2seq", responses=answers(Texts2Texts))
async def seq2seq(body: Seq2SeqBody, request: Request) -> Response:
    """Turn one text or several into others; `/v1/completions` does it as a stream."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    model = hosted.model
    model.must("seq2seq", "/v1/seq2seq")
    texts = as_list(body.input)
    service.check_rows(len(texts), "input")
    writing = hosted.bounded(body.writing())
    jobs = [Job([model.prompt_row(text, body.controls)], writing) for text in texts]
    pieces = await Call(request, hosted, jobs).texts()
    data = [
        {"index": index, "text": piece.text, "finish_reason": piece.finish_reason}
        for index, piece in enumerate(pieces)
    ]
    return JSONResponse(
        {
            "id": f"seq2seq-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": model.name,
            "data": data,
            "usage": usage(pieces),
        }
    )
