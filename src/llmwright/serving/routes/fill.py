"""``/v1/fill``: what stands behind the masks of texts."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llmwright.serving.bodies.texts import FillBody, Fills, as_list
from llmwright.serving.routes.documented import answers
from llmwright.serving.routes.listed import found_for, listed
from llmwright.serving.work.service import service_of

router = APIRouter(tags=["Classification"])


@router.post("/v1/fill", responses=answers(Fills))
async def fill(body: FillBody, request: Request) -> Response:
    """Return the likeliest tokens of each mask, which is written as `[MASK]` or `<mask>`."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    hosted.model.must("fill", "/v1/fill")
    texts = as_list(body.input)
    service.check_rows(len(texts), "input")
    found = await found_for(request, hosted, [hosted.model.text_row(text, None) for text in texts])
    return listed(
        "fill",
        hosted,
        found,
        lambda _, answer: {
            "text": answer["text"],
            "fills": [best[: body.top_k] for best in answer["fills"]],
        },
    )
