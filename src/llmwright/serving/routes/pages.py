"""The two built-in pages: one to play with model and documents, one that documents the routes.

Each is a single document put together at start from the files in ``serving/page``: no second file,
no address outside this server, and a content policy that forbids both.
"""

from __future__ import annotations

import contextlib
import json
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from llmwright.core import locale
from llmwright.serving.door.errors import ApiError
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.service import Service, service_of

router = APIRouter()

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors *"
)
PREFIX = "serving.page."
SCRIPTS = {"play": ("shared", "similar", "play"), "docs": ("shared", "docs")}


@router.get("/")
async def play(request: Request, model: str | None = None) -> Response:
    """Return the page to play with a model, which is loaded for it; the first if none is named."""
    service = service_of(request)
    if model is None:
        return _page("play", _state(service, _first(service)))
    hosted = service.known(model)
    # One that cannot be loaded has a page, too: the page says so with the first request.
    with contextlib.suppress(ApiError):
        await service.pick(model)
    return _page("play", _state(service, hosted))


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the page that documents the routes."""
    service = service_of(request)
    state = {**_state(service, _first(service)), "descriptions": _descriptions()}
    return _page("docs", state)


def _first(service: Service) -> Hosted | None:
    """Return the first model that the key may ask; None where there are only documents."""
    return service.known(None) if service.models else None


def _page(name: str, state: dict[str, Any]) -> Response:
    # "</script" would end the element that holds the state, "<!--" would hide its end.
    held = json.dumps(state, ensure_ascii=False).replace("<", "\\u003c")
    document = _template(name).replace("__STATE__", held)
    headers = {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }
    return HTMLResponse(document, headers=headers)


@cache
def _template(name: str) -> str:
    script = "".join(_read(f"{part}.js") for part in SCRIPTS[name])
    page = _read("frame.html").replace("__STYLE__", _read("style.css"))
    return page.replace("__SCRIPT__", script)


@cache
def _descriptions() -> dict[str, str]:
    """Return the sentences of the OpenAPI document in Chinese, by the English ones."""
    found: dict[str, str] = json.loads(_read("descriptions.zh.json"))
    return found


def _read(name: str) -> str:
    folder = resources.files("llmwright.serving").joinpath("page")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _state(service: Service, hosted: Hosted | None) -> dict[str, Any]:
    library = service.library
    return {
        **_about(hosted),
        "title": hosted.name if hosted else "",
        "models": service.allowed,
        "knowledge": library.card() if library else None,
        "needs_key": service.num_keys > 0,
        "language": locale.language(),
        "texts": {lang: _texts(lang) for lang in ("en", "zh")},
    }


def _about(hosted: Hosted | None) -> dict[str, Any]:
    """Return what the pages say of a model; little where there is none."""
    if hosted is None:
        fields: dict[str, Any] = {"inputs": {}, "needed": [], "also": [], "outputs": {}}
        return {"model": None, "fields": fields, "abilities": [], "examples": []}
    offer = hosted.offer
    return {
        "model": hosted.card(),
        "fields": {
            "inputs": offer.fields.inputs,
            "needed": offer.fields.needed,
            "also": offer.fields.also,
            "outputs": offer.fields.outputs,
        },
        "abilities": sorted(offer.abilities),
        "generation": offer.contract.generation.model_dump(),
        "examples": hosted.examples,
    }


@cache
def _texts(lang: locale.Language) -> dict[str, str]:
    found: dict[str, str] = locale.catalogue(lang, "serving")["text"]
    return {
        key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)
    }
