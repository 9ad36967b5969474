"""``/generate``: the model under the user's own field names, as JSON or as a form."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from llmwright.serving.bodies.requests import Options
from llmwright.serving.call import Call
from llmwright.serving.errors import ApiError
from llmwright.serving.fields import Fields
from llmwright.serving.routes.documented import refusals, success
from llmwright.serving.service import Service, service_of
from llmwright.serving.worker import Job

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def make_router(fields: Fields) -> APIRouter:
    """Return the route, described with the model's own names."""
    router = APIRouter(tags=["Model"])
    description = {
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": _request_schema(fields)} for kind in ("application/json", *FORMS)
            },
        }
    }
    router.post("/generate", openapi_extra=description, responses=_responses(fields))(generate)
    return router


async def generate(request: Request) -> Response:
    """Answer one row, with the field names of the training data, as JSON or as a form."""
    service = service_of(request)
    values = await _read(request, service)
    try:
        row, writing = service.model.read(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    if writing is None:
        (found,) = await Call(request, [Job([row])]).answers()
        return JSONResponse(service.model.fields.reply(found.answer))
    (piece,) = await Call(request, [Job([row], service.bounded(writing))]).texts()
    answer = {
        "text": piece.text,
        "finish_reason": piece.finish_reason,
        "truncated": piece.truncated,
    }
    return JSONResponse(service.model.fields.reply(answer))


async def _read(request: Request, service: Service) -> dict[str, Any]:
    """Return the body's fields.

    Raises:
        ApiError: Another content type, JSON sent as a form, a file, or no JSON object (400).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in FORMS:
        limit = service.config.max_body_bytes
        try:
            async with request.form(max_files=0, max_part_size=limit) as form:
                return _form_values(form)
        except HTTPException as error:
            if error.status_code != 400:
                raise
            raise ApiError(400, "unreadable_form") from error
    if kind != "application/json":
        raise ApiError(400, "content_type", found=kind or "-")
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", reason=str(error)) from error
    if not isinstance(values, dict):
        raise ApiError(400, "not_an_object", path=request.url.path)
    return values


def _form_values(form: FormData) -> dict[str, Any]:
    if any(name.lstrip().startswith("{") for name in form):
        raise ApiError(400, "json_as_form")
    values: dict[str, Any] = {}
    for name in form:
        found = form.getlist(name)
        values[name] = found[0] if len(found) == 1 else found
    return values


def _request_schema(fields: Fields) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "text": {"type": "string"},
        "tokens": {"type": "array", "items": {"type": "string"}},
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {"role": {"type": "string"}, "content": {"type": "string"}},
            },
        },
    }
    properties = {name: kinds[kind] for name, kind in fields.inputs.items()}
    if fields.generates:
        properties.update(Options.model_json_schema()["properties"])
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    if len(fields.needed) == 1:
        schema["required"] = list(fields.needed)
    return schema


def _responses(fields: Fields) -> dict[int | str, dict[str, Any]]:
    kinds: dict[str, dict[str, Any]] = {
        "tokens": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "array", "items": {"type": "string"}},
        "scores": {},
    }
    properties = {
        name: kinds.get(canonical, {"type": "string"}) for canonical, name in fields.outputs.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {**refusals(), 200: success({"application/json": {"schema": schema}})}
