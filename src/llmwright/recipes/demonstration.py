"""``llmwright demo``: a recipe from raw text to an answer over HTTP, checked at every step."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from llmwright.core import files, pipeline, plugins
from llmwright.core.errors import ResourceError
from llmwright.core.events import Emit, Notice
from llmwright.core.locale import text
from llmwright.core.project import Project
from llmwright.operations import OPERATIONS
from llmwright.recipes.shipped import Recipe, copy

START_SECONDS = 120.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Shown:
    """What the demo ends with.

    Attributes:
        folder: The project.
        command: The request, as a curl command that can be repeated.
        reply: The server's answer.
        done: Every step, the check of the running server last.
        seconds: Time from the first step to the answer.
    """

    folder: Path
    command: str
    reply: dict[str, Any]
    done: list[pipeline.Done]
    seconds: float


def run(recipe: Recipe, folder: Path | None, consumers: Sequence[Emit] = ()) -> Shown:
    """Run a recipe's project in a folder, serve what it made, and ask it once.

    Args:
        recipe: The recipe.
        folder: Where to work; a new temporary folder when not given, which is kept.
        consumers: Who receives the events.

    Raises:
        ResourceError: The server did not come up (``RECIPE-002``).
    """
    started = time.monotonic()
    home = folder or Path(tempfile.mkdtemp(prefix=f"llmwright-{recipe.name}-"))
    project = Project.load(copy(recipe, home), OPERATIONS)
    plugins.load_project_plugins(project)
    done = pipeline.run_project(project, OPERATIONS, consumers)
    made = {one.artifact.kind: one.artifact for one in done if one.artifact}
    for consumer in consumers:
        consumer(Notice(text("recipes.serving")))
    served = made.get("export") or made["model"]
    with serving(project.root, served.id) as address:
        reply = httpx.post(f"{address}/generate", json=recipe.request, timeout=60.0).json()
        done.append(_verify(project, address, made["model"].id, consumers))
    return Shown(home, _curl(address, recipe.request), reply, done, time.monotonic() - started)


def _verify(project: Project, address: str, model: str, consumers: Sequence[Emit]) -> pipeline.Done:
    operation = OPERATIONS["verify"]
    config = operation.config_class().model_validate({"target": address, "model": model})
    return pipeline.execute(project, operation, config, "verify-endpoint", consumers)


@contextlib.contextmanager
def serving(root: Path, model: str) -> Iterator[str]:
    """Yield the address of a server in a process of its own; it is stopped afterwards.

    Raises:
        ResourceError: It ended before it was ready, or was not ready in time (``RECIPE-002``).
    """
    with tempfile.TemporaryDirectory() as place:
        ready, log = Path(place) / "ready.json", Path(place) / "log"
        command = [
            sys.executable, "-m", "llmwright.cli", "serve", "--project", str(root),
            "--model", model, "--port", "0", "--ready-file", str(ready),
        ]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield _wait(process, ready, log, root)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], ready: Path, log: Path, root: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready.is_file():
            found = files.read_json(ready)
            return f"http://{found['host']}:{found['port']}"
        time.sleep(POLL_SECONDS)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise ResourceError("RECIPE-002", reason=" ".join(lines[-3:]), folder=root)


def _curl(address: str, body: dict[str, Any]) -> str:
    fields = " ".join(f'-F "{name}={value}"' for name, value in body.items())
    return f"curl -X POST {fields} {address}/generate"
