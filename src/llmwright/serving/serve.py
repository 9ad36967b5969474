"""The operation ``serve``: load, check, listen, answer until stopped."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from llmwright.core import files
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.models.pickled import pickles_allowed
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import read_keys
from llmwright.serving.door.gate import ACCESS
from llmwright.serving.door.traces import Traces
from llmwright.serving.guards.guarding import build
from llmwright.serving.served.source import Source, source_of
from llmwright.serving.server import HttpServer, address_of, listen
from llmwright.serving.work.library import Library
from llmwright.serving.work.service import Service


def serve(config: ServeConfig, inputs: dict[str, Artifact], run: Run) -> None:
    """Answer HTTP requests with a model or export until Ctrl-C or SIGTERM.

    Args:
        config: Address, limits, keys.
        inputs: ``model`` and ``models.NAME``: what is served; ``knowledge.encoder``.
        run: Is told the address once requests are answered.

    Raises:
        ConfigError: An open address without a key (``SERVE-001``), a wrong key (``SERVE-004``), or
            a name twice (``SERVE-014``).
        ResourceError: The port is in use (``SERVE-002``) or the address wrong (``SERVE-005``).
        CheckError: The loaded model does not answer its probes as recorded (``SERVE-003``).
        InputError: The model cannot be loaded, or there is neither a model nor a folder of
            documents (``CORE-062``); or as `open_index`.
        ResourceError: Traces are on without their libraries (``SERVE-017``).
    """
    keys = read_keys(config, run.root)
    traces = Traces(config.otlp_endpoint) if config.otlp_endpoint else None
    with pickles_allowed(config.allow_pickle), listen(config.host, config.port) as listener:
        find = partial(run.store.find, kinds=("model", "export"))
        guards = build(config.guards, run.root, find)
        library = library_of(config, inputs, run)
        sources = sources_of(config, inputs, run.root)
        if not sources and library is None:
            raise InputError("CORE-062", field="model", kind="model / export")
        named = partial(artifact_at, run)
        app = create_app(sources, config, keys, guards, named, traces, library)
        try:
            _run_until_stopped(app, config, listener, run)
        finally:
            guards.close()
            if traces is not None:
                traces.close()


def library_of(config: ServeConfig, inputs: dict[str, Artifact], run: Run) -> Library | None:
    """Return the documents to answer from, not opened yet; None where none are given."""
    if config.knowledge is None:
        return None
    encoder = inputs.get("knowledge.encoder")
    return Library(config.knowledge, run.root, run.store.home, encoder, run)


def sources_of(config: ServeConfig, inputs: dict[str, Artifact], root: Path) -> list[Source]:
    """Return what is served, under the names for clients; nothing is loaded yet.

    Args:
        config: Names and engine.
        inputs: ``model`` and ``models.NAME``.
        root: The project, whose name is that of a model without one.

    Raises:
        ConfigError: Two models have one name (``SERVE-014``), or styles are given and none is told
            anything (``SERVE-018``).
        InputError: A folder has no readable contract.
    """
    found: dict[str, Artifact] = {}
    if "model" in inputs:
        # A name that survives a new training, so that clients need no change.
        name = config.name or re.sub(r"[^\w.-]+", "-", root.resolve().name).strip("-")
        found[name] = inputs["model"]
    for name in config.models:
        if name in found:
            raise ConfigError("SERVE-014", where="models", name=name)
        found[name] = inputs[f"models.{name}"]
    count = config.max_concurrency
    sources = [source_of(found[name], name, config.engine, count, config.styles) for name in found]
    if config.styles and not any("chat" in source.offer.abilities for source in sources):
        raise ConfigError("SERVE-018", where="styles", names=", ".join(found))
    return sources


def artifact_at(run: Run, reference: str) -> Artifact:
    """Return the artifact of a folder, from the project's, or of the beginning of an id.

    Raises:
        CheckError, ConfigError: There is none (``CORE-031``), or its manifest is damaged.
    """
    # Not by pathlib, which raises where there is no such user.
    folder = run.root / os.path.expanduser(reference)
    return Artifact.open(folder if folder.is_dir() else run.store.find(reference, ["model"]))


def _checked(report: dict[str, Any], config: ServeConfig) -> str:
    if report["count"]:
        return text("serving.checked", count=report["count"])
    reason = "serving.no_probes" if config.num_probes else "serving.probes_off"
    return text("serving.unchecked", reason=text(reason))


def _run_until_stopped(
    app: FastAPI, config: ServeConfig, listener: socket.socket, run: Run
) -> None:
    service = app.state.service
    address = address_of(listener)
    service.fleet.tell = run.notice

    def ready() -> None:
        _tell_ready(service, config, address, run)
        _write_ready_file(config, listener, address, run)

    def stop() -> None:
        run.notice(text("serving.stopping", seconds=f"{config.drain_seconds:g}"))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    ACCESS.addHandler(handler)
    ACCESS.setLevel(logging.INFO)
    ACCESS.propagate = False
    try:
        HttpServer(app, config, ready, stop).serve_until_stopped(listener)
    finally:
        ACCESS.removeHandler(handler)
        _remove_ready_file(config, run)
    cut = service.metrics.num_cut_off
    if cut:
        run.notice(text("serving.stopped", count=cut), "warning")
    else:
        run.notice(text("serving.stopped_clean"))


def _tell_ready(service: Service, config: ServeConfig, address: str, run: Run) -> None:
    hosted = service.default
    if hosted is None:
        run.notice(text("serving.ready_documents", address=address))
        command = _command(address, "/v1/search", {"query": "..."})
    else:
        engine = hosted.model.predictor.engine.name
        run.notice(_checked(hosted.probes, config), "info" if hosted.probes["count"] else "warning")
        run.notice(text("serving.ready", name=hosted.name, address=address, engine=engine))
        command = _curl(address, hosted.examples)
    run.notice(text("serving.pages", address=address))
    if service.num_keys:
        run.notice(text("serving.open_keys", count=service.num_keys))
    else:
        run.notice(text("serving.try", command=command))


def _curl(address: str, found: list[dict[str, str]]) -> str:
    """Return a command to try, as a form where every shell takes the values as they are."""
    body = found[0] if found else {}
    if all(re.fullmatch(r"[\w ,.?，。？！-]+", value) for value in body.values()):
        fields = "".join(f' -F "{name}={value}"' for name, value in body.items())
        return f"curl -X POST{fields} {address}/generate"
    return _command(address, "/generate", body)


def _command(address: str, route: str, body: dict[str, str]) -> str:
    values = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return f"curl {address}{route} -H 'Content-Type: application/json' -d '{values}'"


def _write_ready_file(config: ServeConfig, listener: socket.socket, address: str, run: Run) -> None:
    if config.ready_file is None:
        return
    host, port = listener.getsockname()[:2]
    content = {"address": address, "host": host, "port": port, "pid": os.getpid()}
    files.write_json(run.root / config.ready_file.expanduser(), content)


def _remove_ready_file(config: ServeConfig, run: Run) -> None:
    if config.ready_file is not None:
        (run.root / config.ready_file.expanduser()).unlink(missing_ok=True)
