"""``llmwright demo``: a recipe from raw text to an answer over HTTP, checked at every step."""

from __future__ import annotations

import contextlib
import shlex
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
from llmwright.core.errors import CheckError, ResourceError
from llmwright.core.events import Emit, Notice
from llmwright.core.locale import text
from llmwright.core.project import FILE_NAME, Project
from llmwright.core.runs import interrupt_on_terminate
from llmwright.operations import OPERATIONS
from llmwright.recipes.shipped import Recipe, copy, is_project_of

START_SECONDS = 120.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Shown:
    """What the demo ends with.

    Attributes:
        folder: The project.
        command: The request as a curl command, for `llmwright serve` with its default port.
        reply: The server's answer.
        served: Name of the step whose artifact answered.
        done: Every step, the check of the running server last.
        seconds: Time from the first step to the answer.
    """

    folder: Path
    command: str
    reply: dict[str, Any]
    served: str
    done: list[pipeline.Done]
    seconds: float


def run(recipe: Recipe, folder: Path | None, consumers: Sequence[Emit] = ()) -> Shown:
    """Run a recipe's project in a folder, serve what it made, and ask it once.

    Args:
        recipe: The recipe.
        folder: Where to work, in a project of this recipe that is there already too; a new
            temporary folder when not given. It is kept.
        consumers: Who receives the events.

    Raises:
        ConfigError: The folder holds another project (``RECIPE-001``) or files of one's own that
            the recipe brings too (``RECIPE-004``).
        ResourceError: The server did not come up (``RECIPE-002``).
        CheckError: It did not answer the request (``RECIPE-006``).
    """
    started = time.monotonic()
    home = (folder or Path(tempfile.mkdtemp(prefix=f"llmwright-{recipe.name}-"))).resolve()
    _say(text("recipes.folder", folder=home), consumers)
    file = home / FILE_NAME if is_project_of(recipe, home) else copy(recipe, home)
    project = Project.load(file, OPERATIONS)
    plugins.load_project_plugins(project)
    done = pipeline.run_project(project, OPERATIONS, consumers)
    made = {one.artifact.kind: one for one in done if one.artifact}
    served = made.get("export") or made["model"]
    model = made["model"].artifact
    assert served.artifact is not None
    assert model is not None
    _say(text("recipes.serving", step=served.step), consumers)
    # A server must not outlive the demo that was told to end.
    with interrupt_on_terminate(), serving(project.root, served.artifact.id) as address:
        reply = ask(address, recipe.request)
        done.append(_verify(project, address, model.id, consumers))
    return Shown(home, _curl(recipe.request), reply, served.step, done, time.monotonic() - started)


def _say(sentence: str, consumers: Sequence[Emit]) -> None:
    for consumer in consumers:
        consumer(Notice(sentence))


def ask(address: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return a server's answer to one request; the proxies of this machine are not for it.

    Raises:
        CheckError: The status is not 200 (``RECIPE-006``).
    """
    response = httpx.post(f"{address}/generate", json=body, timeout=60.0, trust_env=False)
    if response.status_code != 200:
        raise CheckError("RECIPE-006", status=response.status_code, reply=response.text[:200])
    reply: dict[str, Any] = response.json()
    return reply


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


def _curl(body: dict[str, Any]) -> str:
    port = OPERATIONS["serve"].config_class().model_fields["port"].default
    fields = " ".join(f"-F {shlex.quote(f'{name}={value}')}" for name, value in body.items())
    return f"curl -X POST {fields} http://127.0.0.1:{port}/generate"
