"""``/v1/classify``: labels and probabilities of texts."""

from __future__ import annotations

import time
import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.answers import Classification
from llmwright.serving.bodies.requests import ClassifyBody
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.documented import answers
from llmwright.serving.work.call import Call
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job

router = APIRouter(tags=["Classification"])


@router.post("/v1/classify", responses=answers(Classification))
async def classify(body: ClassifyBody, request: Request) -> Response:
    """Classify one text or several; requests that wait together share a batch."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    model = hosted.model
    model.must("classify", "/v1/classify")
    if body.input_pair is not None and not model.reads_pairs:
        raise ApiError(400, "no_pairs", param="input_pair", name=model.name)
    if body.input_pair is None and model.reads_pairs:
        raise ApiError(400, "missing_parameter", param="input_pair")
    try:
        texts = body.texts()
    except ValueError:
        raise ApiError(400, "uneven_pairs", param="input_pair") from None
    service.check_rows(len(texts), "input")
    rows = [model.text_row(text, pair) for text, pair in texts]
    found = await Call(request, hosted, [Job(rows)]).answers()
    data = [_entry(index, one.answer, body.top_k) for index, one in enumerate(found)]
    prompt_tokens = sum(one.num_input_tokens for one in found)
    return JSONResponse(
        {
            "id": f"classify-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": model.name,
            "data": data,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": 0,
                "total_tokens": prompt_tokens,
            },
        }
    )


def _entry(index: int, answer: dict[str, Any], top_k: int | None) -> dict[str, Any]:
    ordered = sorted(answer["scores"].items(), key=lambda item: -item[1])[:top_k]
    entry: dict[str, Any] = {"index": index}
    entry.update({k: answer[k] for k in ("label", "labels", "truncated") if k in answer})
    return {**entry, "scores": dict(ordered)}
