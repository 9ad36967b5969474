"""``/v1/regress`` and ``/v1/reward``: a number for each text, or for the answer to a question."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llmwright.serving.bodies.texts import Ratings, RegressBody, RewardBody, Rewards
from llmwright.serving.routes.documented import answers
from llmwright.serving.routes.listed import found_for, listed
from llmwright.serving.routes.pairs import rows_of
from llmwright.serving.work.service import service_of

router = APIRouter(tags=["Ratings"])


@router.post("/v1/regress", responses=answers(Ratings))
async def regress(body: RegressBody, request: Request) -> Response:
    """Give each text, or each two texts, a number in the unit of the training data."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    hosted.model.must("regress", "/v1/regress")
    rows = rows_of(body.input, body.input_pair, service, hosted.model)
    found = await found_for(request, hosted, rows)
    return listed("regress", hosted, found, lambda _, answer: {"value": answer["value"]})


@router.post("/v1/reward", responses=answers(Rewards))
async def reward(body: RewardBody, request: Request) -> Response:
    """Score the last answer of one conversation or several."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    hosted.model.must("reward", "/v1/reward")
    conversations = body.conversations()
    service.check_rows(len(conversations), "messages")
    rows = [hosted.model.predictor.read({"messages": turns}) for turns in conversations]
    found = await found_for(request, hosted, rows)
    return listed("reward", hosted, found, lambda _, answer: {"score": answer["score"]})
