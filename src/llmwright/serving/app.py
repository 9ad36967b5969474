"""The application: routes, errors and the gate, around the models."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI

from llmwright.core.artifacts import Artifact
from llmwright.serving.config import ServeConfig
from llmwright.serving.door import errors
from llmwright.serving.door.auth import Keys
from llmwright.serving.door.gate import Gate
from llmwright.serving.door.traces import Traces
from llmwright.serving.guards.guarding import Guards
from llmwright.serving.routes import (
    adapters,
    chat,
    classify,
    completions,
    embeddings,
    fill,
    generate,
    knowledge,
    operating,
    pages,
    rate,
    rerank,
    seq2seq,
    tag,
    tokens,
)
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.offer import Offer
from llmwright.serving.served.source import Source
from llmwright.serving.work.library import Library
from llmwright.serving.work.service import Find, Service

# Routers that ask a model, with what one must be able to do for them to be described; nothing where
# every model may.
ANSWERING: tuple[tuple[APIRouter, set[str]], ...] = (
    (completions.router, {"write"}),
    (chat.router, {"chat"}),
    (seq2seq.router, {"seq2seq"}),
    (classify.router, {"classify"}),
    (tag.router, {"tag"}),
    (fill.router, {"fill"}),
    (rate.router, {"regress", "reward"}),
    (embeddings.router, set()),
    (rerank.router, set()),
    (tokens.router, set()),
)


def create_app(
    models: ServedModel | Sequence[Source],
    config: ServeConfig,
    keys: Keys | None = None,
    guards: Guards | None = None,
    find: Find | None = None,
    traces: Traces | None = None,
    library: Library | None = None,
) -> FastAPI:
    """Return the ASGI application that answers with models, or from documents, or both.

    Args:
        models: What is served: a loaded model, or several that are loaded when asked for. The first
            answers requests that name none. None at all where there are documents.
        config: Limits and settings; address and files are not used here.
        keys: API keys; None leaves the server open to this machine.
        guards: What looks at prompts and replies; nothing when None.
        find: Returns the artifact that an administrator names; without it only folders are found.
        traces: Where each request is told; nowhere when None.
        library: Documents to answer from; none when None.
    """
    keys = keys or Keys()
    sources = [Source.loaded(models)] if isinstance(models, ServedModel) else list(models)
    find = find or (lambda path: Artifact.open(Path(path)))
    service = Service(sources, config, len(keys), guards or Guards(), find, library)
    offers = [hosted.offer for hosted in service.models.values()]

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.begin()
        yield
        await service.end()

    app = FastAPI(
        title=f"LLMwright: {offers[0].name if offers else 'documents'}",
        version=metadata.version("llmwright"),
        description=_about(offers),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # The framework tells no spans of its own, whatever is installed besides.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = service
    errors.install(app)
    _include(app, offers, library is not None)
    app.openapi = lambda: _document(app, bool(keys))  # type: ignore[method-assign]
    app.add_middleware(
        Gate,
        keys=keys,
        metrics=service.metrics,
        routes=_paths(app),
        config=config,
        traces=traces,
    )
    return app


def _about(offers: Sequence[Offer]) -> str:
    if not offers:
        return "Passages of documents."
    contract = offers[0].contract
    return f"{contract.task}, {contract.num_parameters:,} parameters."


def _include(app: FastAPI, offers: Sequence[Offer], has_documents: bool) -> None:
    """Add all routes; those that nothing can answer say so and are left out of the document."""
    abilities = {ability for offer in offers for ability in offer.abilities}
    if offers:
        app.include_router(generate.make_router(offers[0].fields))
    app.include_router(knowledge.router, include_in_schema=has_documents)
    for router, needed in ANSWERING:
        described = bool(needed & abilities) or bool(offers and not needed)
        app.include_router(router, include_in_schema=described)
    app.include_router(operating.router)
    app.include_router(adapters.router)
    app.include_router(pages.router, include_in_schema=False)


def _paths(app: FastAPI) -> frozenset[str]:
    """Return the paths that requests are counted by: those of all routes without a variable."""
    routers = (router for router, _ in ANSWERING)
    plain = (knowledge.router, operating.router, adapters.router, pages.router)
    found = {
        str(getattr(route, "path", "")) for router in (*routers, *plain) for route in router.routes
    }
    found |= {"/generate", app.openapi_url or ""}
    return frozenset(path for path in found if "{" not in path)


def _document(app: FastAPI, needs_key: bool) -> dict[str, Any]:
    """Return the OpenAPI document; it is made once."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for methods in document["paths"].values():
            for operation in methods.values():
                # What the framework would refuse as 422 is a 400 here, with our envelope.
                operation["responses"].pop("422", None)
        if needs_key:
            document["components"]["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer"}
            }
            document["security"] = [{"key": []}]
    assert app.openapi_schema is not None
    return app.openapi_schema
