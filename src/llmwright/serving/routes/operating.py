"""Routes for those who run the server: models, health, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from llmwright.serving.bodies.answers import Health, ModelCard, ModelList
from llmwright.serving.routes.documented import answers, success
from llmwright.serving.work.service import Service, service_of

router = APIRouter(tags=["Operation"])


@router.get("/v1/models", responses=answers(ModelList))
async def models(request: Request) -> Response:
    """List the served models: what they read, how they answered their recorded probes."""
    return JSONResponse({"object": "list", "data": [_card(service_of(request))]})


@router.get("/v1/models/{name}", responses=answers(ModelCard))
async def model(name: str, request: Request) -> Response:
    """Describe one served model."""
    service = service_of(request)
    service.pick(name)
    return JSONResponse(_card(service))


def _card(service: Service) -> dict[str, object]:
    return {**service.model.card(), "probes": service.probes}


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
    if not service.worker.is_well():
        return JSONResponse({"status": "engine stuck"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics", responses={200: success({"text/plain": {"schema": {"type": "string"}}})})
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    service = service_of(request)
    service.metrics.heartbeat_age.set(service.worker.heartbeat_age())
    return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)
