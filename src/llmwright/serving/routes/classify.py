"""``/v1/classify``: labels and probabilities of texts."""

from __future__ import annotations

import time
import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.answers import Classification
from llmwright.serving.bodies.requests import ClassifyBody
from llmwright.serving.call import Call
from llmwright.serving.errors import ApiError
from llmwright.serving.routes.documented import answers
from llmwright.serving.service import service_of
from llmwright.serving.worker import Job

router = APIRouter(tags=["Classification"])


@router.post("/v1/classify", responses=answers(Classification))
async def classify(body: ClassifyBody, request: Request) -> Response:
    """Classify one text or several; requests that wait together share a batch."""
    service = service_of(request)
    model = service.pick(body.model)
    model.must("classify", "/v1/classify")
    if body.input_pair is not None and not model.reads_pairs:
        raise ApiError(400, "no_pairs", param="input_pair", name=model.name)
    try:
        rows = body.rows()
    except ValueError:
        raise ApiError(400, "uneven_pairs", param="input_pair") from None
    service.check_rows(len(rows), "input")
    found = await Call(request, [Job(rows)]).answers()
    prompt_tokens = model.count(rows)
    request.scope["record"].usage(prompt_tokens, 0)
    service.metrics.tokens(prompt_tokens, 0)
    data = []
    for index, answer in enumerate(found):
        service.metrics.predicted(labels_of(answer))
        data.append(_entry(index, answer, body.top_k))
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


def labels_of(answer: dict[str, Any]) -> list[str]:
    """Return the labels an answer gives to its text."""
    return answer["labels"] if "labels" in answer else [answer["label"]]


def _entry(index: int, answer: dict[str, Any], top_k: int | None) -> dict[str, Any]:
    ordered = sorted(answer["scores"].items(), key=lambda item: -item[1])[:top_k]
    kept: dict[str, Any] = {
        name: answer[name] for name in ("label", "labels", "truncated") if name in answer
    }
    return {"index": index} | kept | {"scores": dict(ordered)}
