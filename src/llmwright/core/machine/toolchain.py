"""Managed environments for tools whose pinned libraries fight with ours: one venv per tool.

A toolchain is made by venv and pip, so that the user's mirrors and certificates hold; its versions
are pinned, and checked each time before it is used. What is broken off is continued: pip keeps what
it has loaded, and an environment counts as made only once its versions are right. Work runs there
as a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.errors import InputError, ResourceError
from llmwright.core.events import Emit, Notice, Progress
from llmwright.core.locale import text
from llmwright.core.registry import Registry

READY_FILE = "llmwright.json"
WAIT_SECONDS = 0.5
NUM_SHOWN_LINES = 8
# What tools that count their users look at.
SILENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
}
# Prints the versions of the distributions it is given, as JSON.
ASK_VERSIONS = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Toolchain:
    """What an environment is made of.

    Attributes:
        name: As in ``vllm``; also the name of its folder.
        versions: Distribution → the version that it must have; pip finds what these need.
        environment: Variables for everything that runs there, such as those that switch telemetry
            off.
        needs: Returns why it cannot run on this machine, in words; empty where it can.
    """

    name: str
    versions: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: Callable[[], str] = lambda: ""

    @property
    def variable(self) -> str:
        """Environment variable that names a Python with the tool in it, used as it is."""
        return f"LLMWRIGHT_{self.name.upper().replace('-', '_')}_PYTHON"


# Tools that are run in environments of their own.
TOOLCHAINS: Registry[Toolchain] = Registry(
    "toolchain", {"vllm": "llmwright.inference.remote.vllm:TOOLCHAIN"}
)


@dataclass(frozen=True)
class Environment:
    """An environment that is ready.

    Attributes:
        python: Its interpreter.
        variables: All environment variables for what runs there.
        versions: What was found in it.
    """

    python: Path
    variables: Mapping[str, str]
    versions: Mapping[str, str]


def home() -> Path:
    """Return the folder of all toolchains; the variable ``LLMWRIGHT_TOOLCHAINS`` names another."""
    named = os.environ.get("LLMWRIGHT_TOOLCHAINS")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "llmwright" / "toolchains"


def ensure(toolchain: Toolchain, emit: Emit) -> Environment:
    """Return a toolchain's environment, made or mended first where it has to be.

    Args:
        toolchain: What it is made of.
        emit: Receives progress.

    Raises:
        InputError: The Python that the user named lacks the tool (``CORE-131``).
        ResourceError: The tool cannot run here (``CORE-132``), or pip failed (``CORE-130``).
    """
    named = os.environ.get(toolchain.variable)
    if named:
        return _named(toolchain, Path(named).expanduser())
    lacking = toolchain.needs()
    if lacking:
        raise ResourceError("CORE-132", name=toolchain.name, reason=lacking)
    found = state(toolchain)
    if found is None:
        folder = home() / toolchain.name
        with _alone(toolchain, emit):
            # Another process may have made it meanwhile.
            found = state(toolchain) or _make(toolchain, folder, emit)
    return found


def state(toolchain: Toolchain) -> Environment | None:
    """Return a toolchain's environment if its versions are the pinned ones, else None."""
    folder = home() / toolchain.name
    with contextlib.suppress(OSError, ValueError):
        if files.read_json(folder / READY_FILE) == _recipe(toolchain):
            python = _python_of(folder)
            found = _versions_in(python, toolchain)
            if found == dict(toolchain.versions):
                return Environment(python, variables(toolchain), found)
    return None


def variables(toolchain: Toolchain) -> dict[str, str]:
    """Return the environment variables for what runs in a toolchain."""
    # Our own modules are of no use to another interpreter and may harm it.
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return {**kept, **SILENT, **toolchain.environment}


def _named(toolchain: Toolchain, python: Path) -> Environment:
    found = _versions_in(python, toolchain)
    missing = sorted(set(toolchain.versions) - set(found))
    if missing:
        raise InputError(
            "CORE-131", variable=toolchain.variable, path=python, names=", ".join(missing)
        )
    return Environment(python, {**os.environ, **SILENT, **toolchain.environment}, found)


def _recipe(toolchain: Toolchain) -> dict[str, Any]:
    """Return what an environment has to be made of to count as this one."""
    version = ".".join(map(str, sys.version_info[:3]))
    return {"versions": dict(toolchain.versions), "python": version}


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _versions_in(python: Path, toolchain: Toolchain) -> dict[str, str]:
    """Return the versions an interpreter has of the pinned distributions; nothing if it is none."""
    try:
        done = subprocess.run(
            [str(python), "-c", ASK_VERSIONS, *toolchain.versions],
            capture_output=True,
            check=True,
            timeout=60,
        )
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    return found


@contextlib.contextmanager
def _alone(toolchain: Toolchain, emit: Emit) -> Iterator[None]:
    """Wait until no other process makes the same toolchain, then keep others waiting."""
    path = home() / f"{toolchain.name}.lock"
    held = files.hold(path, tries=1)
    if held is None:
        emit(Notice(text("core.toolchain_waits", name=toolchain.name)))
    while held is None:
        time.sleep(WAIT_SECONDS)
        held = files.hold(path, tries=1)
    with held:
        yield


def _make(toolchain: Toolchain, folder: Path, emit: Emit) -> Environment:
    pinned = [f"{name}=={version}" for name, version in toolchain.versions.items()]
    emit(Notice(text("core.toolchain_begins", name=toolchain.name, folder=folder)))
    (folder / READY_FILE).unlink(missing_ok=True)
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Without --clear: what an attempt that was broken off has installed stays.
        _run(toolchain, [sys.executable, "-m", "venv", str(folder)], emit)
        pip = [str(_python_of(folder)), "-m", "pip", "install", *pinned]
        _run(toolchain, pip, emit)
        found = _versions_in(_python_of(folder), toolchain)
        if found != dict(toolchain.versions):
            raise ResourceError("CORE-130", name=toolchain.name, reason=str(found))
        files.write_json(folder / READY_FILE, _recipe(toolchain))
    emit(Notice(text("core.toolchain_made", name=toolchain.name)))
    return Environment(_python_of(folder), variables(toolchain), found)


def _run(toolchain: Toolchain, command: list[str], emit: Emit) -> None:
    """Run a command, each line that it says one step of the progress.

    Raises:
        ResourceError: It failed (``CORE-130``).
    """
    said: deque[str] = deque(maxlen=NUM_SHOWN_LINES)
    with subprocess.Popen(
        command,
        env=variables(toolchain),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for count, line in enumerate(process.stdout, start=1):
                said.append(line.strip())
                emit(Progress(f"toolchain {toolchain.name}", count, None, "steps"))
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        reason = " / ".join(line for line in said if line)
        raise ResourceError("CORE-130", name=toolchain.name, reason=reason or command[0])
