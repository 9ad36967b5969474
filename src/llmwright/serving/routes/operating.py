"""Routes for those who run the server: models, health, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from llmwright.serving.bodies.answers import Health, ModelCard, ModelList
from llmwright.serving.routes.documented import answers, success
from llmwright.serving.work.service import service_of

router = APIRouter(tags=["Operation"])


@router.get("/v1/models", responses=answers(ModelList))
async def models(request: Request) -> Response:
    """List the models the key may ask: what they read, how they answered their recorded probes."""
    service = service_of(request)
    cards = [service.models[name].card() for name in service.allowed]
    return JSONResponse({"object": "list", "data": cards})


@router.get("/v1/models/{name}", responses=answers(ModelCard))
async def model(name: str, request: Request) -> Response:
    """Describe one served model."""
    return JSONResponse(service_of(request).known(name).card())


@router.get("/livez", responses={200: {"model": Health, "description": "The process answers."}})
async def livez() -> Response:
    """Say that the process answers."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    responses={
        200: {"model": Health, "description": "Requests are answered."},
        503: {
            "model": Health,
            "description": "Requests are not answered now; `status` says why.",
        },
    },
)
async def readyz(request: Request) -> Response:
    """Say whether requests are answered: the model is checked, its thread alive and not stuck."""
    service = service_of(request)
    if service.draining:
        return JSONResponse({"status": "stopping"}, 503)
    if not all(hosted.worker.is_well() for hosted in service.models.values()):
        return JSONResponse({"status": "engine stuck"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics", responses={200: success({"text/plain": {"schema": {"type": "string"}}})})
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    service = service_of(request)
    for hosted in service.models.values():
        hosted.metrics.heartbeat_age.set(hosted.worker.heartbeat_age())
    return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)
