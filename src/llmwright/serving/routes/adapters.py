"""LoRA adapters that come and go while the server runs; a key of scope ``admin`` is needed."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.answers import ModelCard, ModelList
from llmwright.serving.bodies.requests import LoadAdapterBody, UnloadAdapterBody
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.documented import answers
from llmwright.serving.work.hosted_adapter import HostedAdapter
from llmwright.serving.work.service import Service, service_of

router = APIRouter(tags=["Operation"])


@router.post("/v1/load_lora_adapter", responses=answers(ModelCard))
async def load_lora_adapter(body: LoadAdapterBody, request: Request) -> Response:
    """Load an adapter over a model; requests then name it as their model.

    Texts that are being written go on; texts of several adapters share a batch.
    """
    service = service_of(request)
    if not service.started:
        raise service.known(None).away()
    if not body.load_inplace and body.lora_name in service.models:
        raise ApiError(400, "name_taken", param="lora_name", name=body.lora_name)
    artifact = service.find(body.lora_path)
    base = service.known(body.model)
    adapter = await service.fleet.load_adapter(body.lora_name, artifact, base)
    return JSONResponse(adapter.card())


@router.post("/v1/unload_lora_adapter", responses=answers(ModelList))
async def unload_lora_adapter(body: UnloadAdapterBody, request: Request) -> Response:
    """Forget an adapter; texts that are being written through it go on."""
    service = service_of(request)
    await service.fleet.unload_adapter(body.lora_name)
    return JSONResponse(_list(service))


@router.get("/v1/lora_adapters", responses=answers(ModelList))
async def lora_adapters(request: Request) -> Response:
    """List the loaded adapters."""
    return JSONResponse(_list(service_of(request)))


def _list(service: Service) -> dict[str, object]:
    found = [one.card() for one in service.models.values() if isinstance(one, HostedAdapter)]
    return {"object": "list", "data": found}
