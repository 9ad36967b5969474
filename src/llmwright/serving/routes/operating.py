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


@router.get("/v1/models/{name:path}", responses=answers(ModelCard))
async def model(name: str, request: Request) -> Response:
    """Describe one served model."""
    return JSONResponse(service_of(request).known(name).card())


@router.get(
    "/livez",
    responses={
        200: {"model": Health, "description": "The process answers."},
        503: {"model": Health, "description": "Only a new start of the process can help."},
    },
)
async def livez(request: Request) -> Response:
    """Say that the process answers and needs no new start."""
    return _health(service_of(request).beyond_help())


@router.get(
    "/startupz",
    responses={
        200: {"model": Health, "description": "The first model is loaded and checked."},
        503: {"model": Health, "description": "It is being loaded."},
    },
)
async def startupz(request: Request) -> Response:
    """Say whether the first model is loaded and checked; once it is, this does not change."""
    return _health(None if service_of(request).started else "loading")


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
    return _health(service_of(request).trouble())


def _health(trouble: str | None) -> Response:
    return JSONResponse({"status": trouble or "ok"}, 503 if trouble else 200)


@router.get("/metrics", responses={200: success({"text/plain": {"schema": {"type": "string"}}})})
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    service = service_of(request)
    for hosted in service.fleet.own:
        hosted.measure()
    return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)
