"""The application: routes, errors and the gate, around one model."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib import metadata
from typing import Any

from fastapi import FastAPI

from llmwright.serving.config import ServeConfig
from llmwright.serving.door import errors
from llmwright.serving.door.auth import Keys
from llmwright.serving.door.gate import Gate
from llmwright.serving.metrics import Metrics
from llmwright.serving.routes import chat, classify, completions, generate, operating, pages
from llmwright.serving.served.model import ServedModel
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.service import Service
from llmwright.serving.work.thread import ModelThread


def create_app(
    model: ServedModel,
    config: ServeConfig,
    keys: Keys | None = None,
    probes: dict[str, Any] | None = None,
    examples: list[dict[str, str]] | None = None,
    thread: ModelThread | None = None,
) -> FastAPI:
    """Return the ASGI application that answers with a model.

    Args:
        model: What is served.
        config: Limits and settings; address and files are not used here.
        keys: API keys; None leaves the server open to this machine.
        probes: How the model answered its recorded probes, for ``/v1/models``.
        examples: A few inputs under the user's names, for the pages.
        thread: That the model was loaded in.
    """
    keys = keys or Keys()
    metrics = Metrics()
    hosted = Hosted(model, config, metrics, thread, probes, examples)
    service = Service(config, {model.name: hosted}, metrics, len(keys))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hosted.worker.start()
        yield
        service.draining = True
        hosted.worker.close()

    app = FastAPI(
        title=f"LLMwright: {model.name}",
        version=metadata.version("llmwright"),
        description=f"{model.contract.task}, {model.contract.num_parameters:,} parameters.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Requests are not traced, whatever is installed besides.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = service
    errors.install(app)
    _include(app, model)
    app.openapi = lambda: _document(app, bool(keys))  # type: ignore[method-assign]
    app.add_middleware(
        Gate,
        keys=keys,
        metrics=metrics,
        routes=_paths(app),
        config=config,
    )
    return app


def _include(app: FastAPI, model: ServedModel) -> None:
    """Add all routes; those the model cannot answer say so and are left out of the document."""
    app.include_router(generate.make_router(model.fields))
    app.include_router(completions.router, include_in_schema="write" in model.abilities)
    app.include_router(chat.router, include_in_schema="chat" in model.abilities)
    app.include_router(classify.router, include_in_schema="classify" in model.abilities)
    app.include_router(operating.router)
    app.include_router(pages.router, include_in_schema=False)


def _paths(app: FastAPI) -> frozenset[str]:
    """Return the paths that requests are counted by."""
    known = ("/generate", "/v1/completions", "/v1/chat/completions", "/v1/classify")
    return frozenset(
        (*known, "/v1/models", "/livez", "/readyz", "/metrics", "/", "/docs", app.openapi_url or "")
    )


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
