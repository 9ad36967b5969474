"""The operation ``serve``: load, check, listen, answer until stopped."""

from __future__ import annotations

import calendar
import json
import logging
import os
import re
import socket
import sys
import time
from functools import partial
from typing import Any

from fastapi import FastAPI

from llmwright.core import files
from llmwright.core.artifacts import MANIFEST, Artifact
from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.inference.predictor import Predictor
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import read_keys
from llmwright.serving.door.gate import ACCESS
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.probing import check, examples
from llmwright.serving.server import HttpServer, address_of, listen
from llmwright.serving.work.thread import ModelThread


def serve(config: ServeConfig, inputs: dict[str, Artifact], run: Run) -> None:
    """Answer HTTP requests with a model or export until Ctrl-C or SIGTERM.

    Args:
        config: Address, limits, keys.
        inputs: ``model``: what is served.
        run: Is told the address once requests are answered.

    Raises:
        ConfigError: An open address without a key (``SERVE-001``), or a wrong key (``SERVE-004``).
        ResourceError: The port is in use (``SERVE-002``) or the address wrong (``SERVE-005``).
        CheckError: The loaded model does not answer its probes as recorded (``SERVE-003``).
        InputError: The model cannot be loaded.
    """
    keys = read_keys(config, run.root)
    with listen(config.host, config.port) as listener:
        started = time.monotonic()
        thread = ModelThread()
        model = thread.submit(partial(load, inputs["model"], config, run)).result()
        report = thread.submit(partial(check, model.predictor, config.num_probes)).result()
        run.notice(_checked(report, config), "info" if report["count"] else "warning")
        app = create_app(model, config, keys, report, examples(model), thread)
        app.state.service.default.metrics.load_seconds.set(time.monotonic() - started)
        _run_until_stopped(app, config, listener, run)


def load(artifact: Artifact, config: ServeConfig, run: Run) -> ServedModel:
    """Return the model of an artifact, under its name for clients."""
    predictor = Predictor.open(artifact.path, engine=config.engine)
    run.notice(predictor.choice)
    # A name that survives a new training, so that clients need no change.
    name = config.name or re.sub(r"[^\w.-]+", "-", run.root.resolve().name).strip("-")
    return ServedModel(
        predictor,
        name or predictor.contract.task,
        artifact=artifact.id,
        kind=artifact.kind,
        created=_created(artifact),
    )


def _created(artifact: Artifact) -> int:
    stamp = files.read_json(artifact.path / MANIFEST)["created"]
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


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

    def ready() -> None:
        model = service.default.model
        engine = model.predictor.engine.name
        run.notice(text("serving.ready", name=model.name, address=address, engine=engine))
        run.notice(text("serving.pages", address=address))
        if service.num_keys:
            run.notice(text("serving.open_keys", count=service.num_keys))
        else:
            run.notice(text("serving.try", command=_curl(address, service.default.examples)))
        _write_ready_file(config, listener, address, run)

    def stop() -> None:
        service.draining = True
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
        for hosted in service.models.values():
            hosted.worker.close()
        _remove_ready_file(config, run)
    cut = service.metrics.num_cut_off
    if cut:
        run.notice(text("serving.stopped", count=cut), "warning")
    else:
        run.notice(text("serving.stopped_clean"))


def _curl(address: str, found: list[dict[str, str]]) -> str:
    """Return a command to try, as a form where every shell takes the values as they are."""
    body = found[0] if found else {}
    if all(re.fullmatch(r"[\w ,.?，。？！-]+", value) for value in body.values()):
        fields = "".join(f' -F "{name}={value}"' for name, value in body.items())
        return f"curl -X POST{fields} {address}/generate"
    values = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return f"curl {address}/generate -H 'Content-Type: application/json' -d '{values}'"


def _write_ready_file(config: ServeConfig, listener: socket.socket, address: str, run: Run) -> None:
    if config.ready_file is None:
        return
    host, port = listener.getsockname()[:2]
    content = {"address": address, "host": host, "port": port, "pid": os.getpid()}
    files.write_json(run.root / config.ready_file.expanduser(), content)


def _remove_ready_file(config: ServeConfig, run: Run) -> None:
    if config.ready_file is not None:
        (run.root / config.ready_file.expanduser()).unlink(missing_ok=True)
