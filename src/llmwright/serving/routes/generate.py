"""``/generate``: the model under the user's own field names, as JSON or as a form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from llmwright.serving.bodies.requests import Options
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.documented import refusals, success
from llmwright.serving.served.fields import Fields
from llmwright.serving.work.call import Call
from llmwright.serving.work.service import Service, service_of
from llmwright.serving.work.worker import Job

MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
MAX_FIELDS = 1000
# A field of the body may have any name, so the model's stands in the address.
Named = Annotated[
    str | None, Query(description="Name of the model; the server's first when not given.")
]


def make_router(fields: Fields) -> APIRouter:
    """Return the route, described with the model's own names."""
    router = APIRouter(tags=["Model"])
    description = {
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": _request_schema(fields)}
                for kind in ("application/json", MULTIPART, URLENCODED)
            },
        }
    }
    router.post("/generate", openapi_extra=description, responses=_responses(fields))(generate)
    return router


async def generate(request: Request, model: Named = None) -> Response:
    """Answer one row, with the field names of the training data, as JSON or as a form."""
    service = service_of(request)
    hosted = await service.pick(model)
    values = await _read(request, service)
    try:
        row, writing = hosted.model.read(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    if writing is None:
        (found,) = await Call(request, hosted, [Job([row])]).answers()
        return JSONResponse(hosted.model.fields.reply(found.answer))
    (piece,) = await Call(request, hosted, [Job([row], hosted.bounded(writing))]).texts()
    answer = {
        "text": piece.text,
        "finish_reason": piece.finish_reason,
        "truncated": piece.truncated,
    }
    return JSONResponse(hosted.model.fields.reply(answer))


async def _read(request: Request, service: Service) -> dict[str, Any]:
    """Return the body's fields.

    Raises:
        ApiError: Another content type, another encoding than UTF-8, JSON sent as a form, a file,
            or no JSON object (400).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        if kind == MULTIPART:
            return await _multipart(request, body, service.config.max_body_bytes)
        if kind == URLENCODED:
            return _urlencoded(body)
        if kind == "application/json":
            return _json_object(request, body)
    except UnicodeDecodeError as error:
        raise ApiError(400, "not_utf8") from error
    raise ApiError(400, "content_type", found=kind or "-")


async def _multipart(request: Request, body: bytes, limit: int) -> dict[str, Any]:
    try:
        async with request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=limit) as form:
            values = _form_values(form.multi_items())
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise ApiError(400, "unreadable_form") from error
    # The parser takes what is no UTF-8 for Latin-1.
    body.decode()
    return values


def _urlencoded(body: bytes) -> dict[str, Any]:
    try:
        # Not the framework's parser: it takes the plain UTF-8 that curl -d sends for Latin-1.
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise ApiError(400, "unreadable_form") from error
    return _form_values(pairs)


def _json_object(request: Request, body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", reason=str(error)) from error
    if not isinstance(values, dict):
        raise ApiError(400, "not_an_object", path=request.url.path)
    return values


def _form_values(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if any(name.lstrip().startswith("{") for name, _ in pairs):
        raise ApiError(400, "json_as_form")
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _request_schema(fields: Fields) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "text": {"type": "string"},
        "controls": {"type": "object", "additionalProperties": {"type": "string"}},
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
        "value": {"type": "number"},
        "score": {"type": "number"},
        "fills": {"type": "array", "items": {"type": "array", "items": {"type": "object"}}},
        "embedding": {"type": "array", "items": {"type": "number"}},
    }
    properties = {
        name: kinds.get(canonical, {"type": "string"}) for canonical, name in fields.outputs.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {**refusals(), 200: success({"application/json": {"schema": schema}})}
