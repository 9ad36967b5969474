"""``/v1/rerank``: documents in the order of how well they answer a question."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.vectors import Ranking, RerankBody
from llmwright.serving.routes.documented import answers
from llmwright.serving.served.relevance import relevance
from llmwright.serving.work.call import Call
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job

router = APIRouter(tags=["Ratings"])
DIGITS = 6


@router.post("/v1/rerank", responses=answers(Ranking))
async def rerank(body: RerankBody, request: Request) -> Response:
    """Sort documents by how well they answer a question.

    A classifier or regression model of pairs compares question and document, a reward model scores
    the document as an answer, and of any other model the vectors are compared; `method` says which.
    """
    service = service_of(request)
    hosted = await service.pick(body.model)
    texts = body.texts()
    service.check_rows(len(texts), "documents")
    asked = relevance(hosted.model, body.query, texts)
    found = await Call(request, hosted, [Job(asked.rows, answer=asked.answer)]).answers()
    scores = asked.scores([one.answer for one in found])
    order = sorted(range(len(texts)), key=lambda place: -scores[place])[: body.top_n]

    def entry(place: int) -> dict[str, Any]:
        document = {"document": {"text": texts[place]}} if body.return_documents else {}
        return {"index": place, "relevance_score": round(scores[place], DIGITS), **document}

    read = sum(one.num_input_tokens for one in found)
    return JSONResponse(
        {
            "id": f"rerank-{uuid.uuid4().hex}",
            "object": "list",
            "model": hosted.name,
            "method": asked.method,
            **({"label": asked.label} if asked.label is not None else {}),
            "results": [entry(place) for place in order],
            "usage": {"prompt_tokens": read, "total_tokens": read},
        }
    )
