"""``/v1/classify``: labels and probabilities of texts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llmwright.serving.bodies.answers import Classification
from llmwright.serving.bodies.requests import ClassifyBody
from llmwright.serving.routes.documented import answers
from llmwright.serving.routes.listed import found_for, listed
from llmwright.serving.routes.pairs import rows_of
from llmwright.serving.work.service import service_of

router = APIRouter(tags=["Classification"])


@router.post("/v1/classify", responses=answers(Classification))
async def classify(body: ClassifyBody, request: Request) -> Response:
    """Classify one text or several; requests that wait together share a batch."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    hosted.model.must("classify", "/v1/classify")
    rows = rows_of(body.input, body.input_pair, service, hosted.model)
    found = await found_for(request, hosted, rows)

    def describe(_: int, answer: dict[str, Any]) -> dict[str, Any]:
        ordered = sorted(answer["scores"].items(), key=lambda item: -item[1])[: body.top_k]
        labels: dict[str, Any] = {
            name: answer[name] for name in ("label", "labels") if name in answer
        }
        return {**labels, "scores": dict(ordered)}

    return listed("classify", hosted, found, describe)
