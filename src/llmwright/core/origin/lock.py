"""The lock of a run: all that decided its result, so that it can be done again and compared.

It is written as ``run.lock.json`` into the run's folder when the run begins, and stands as
``origin`` in the manifest of the artifact. The manifest is no part of what an artifact's id is the
hash of: the same training makes the same artifact on whatever machine, and yet each says where it
comes from. Nothing private is in it: no path outside of the project, no name of a user or a
machine, no secret, and of the environment only what libraries calculate by.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

from llmwright.core import files, layers, plugins
from llmwright.core.artifacts import MANIFEST, Artifact, read_manifest
from llmwright.core.config import Config, is_path, is_secret
from llmwright.core.errors import InputError, LLMwrightError
from llmwright.core.hardware import hardware
from llmwright.core.index import RunRow
from llmwright.core.operation import Operation
from llmwright.core.project import Project
from llmwright.core.registry import installed_plugins

LOCK_FILE = "run.lock.json"
VERSION = 1
OUTSIDE = "<outside>"
GIT_SECONDS = 5

# Variables by which libraries choose threads, kernels, devices and memory.
ENVIRONMENT = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_DEFAULT_FPMATH_MODE",
    "GOMP_SPINCOUNT",
    "HF_HUB_OFFLINE",
    "MALLOC_MMAP_THRESHOLD_",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    "PYTHONHASHSEED",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "RANK",
    "TOKENIZERS_PARALLELISM",
    "WORLD_SIZE",
)

Lock = dict[str, Any]
# What calculated: may be otherwise when a run goes on, and still decides what comes out.
FACTS = ("code", "versions", "plugins", "machine", "environment")


def machine() -> dict[str, Any]:
    """Return what calculates: system, processor, cores, memory and GPUs, without names."""
    found = hardware()
    return {
        "python": platform.python_version(),
        "system": f"{found.platform} {platform.libc_ver()[0]}".strip(),
        "processor": _processor(),
        "num_cores": found.num_cores,
        "memory_gb": round(found.memory_bytes / 1e9),
        "bf16": found.bf16,
        "gpus": [gpu.name for gpu in found.gpus],
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    said = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    named = (line.partition(":")[2].strip() for line in said.splitlines() if "model name" in line)
    return next(named, platform.processor())


def code(project: Project) -> dict[str, Any]:
    """Return version and, where they lie in a git repository, commits of LLMwright and project."""
    here = Path(__file__).parents[2]
    return {
        "llmwright": metadata.version("llmwright"),
        # An installed package may lie within somebody's repository, of which it is no part.
        "llmwright_commit": None if "site-packages" in here.parts else _commit(here),
        "project_commit": _commit(project.root),
    }


def _commit(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None if said.returncode == 0 else None


def of_run(
    project: Project,
    operation: Operation,
    config: Config,
    inputs: Mapping[str, Artifact],
    row: RunRow,
    local: Mapping[str, str],
) -> Lock:
    """Return the lock of a run that is about to begin.

    Args:
        project: Its plugins and its commit count.
        operation: What is run.
        config: Its settings.
        inputs: What it reads, by dotted field.
        row: What the index says of it.
        local: Path and SHA-256 of each local file that it reads.
    """
    return {
        "version": VERSION,
        "run": row.id,
        "step": row.step,
        "operation": operation.verb,
        "operation_version": operation.version,
        "inputs": {name: artifact.id for name, artifact in inputs.items()},
        "config": without_private(config, project.root),
        "versions": row.versions,
        "files": [_file(project, path, sha256) for path, sha256 in local.items() if sha256],
        "plugins": plugins.project_hashes(project) | installed_plugins(),
        "code": code(project),
        "machine": machine(),
        "environment": {n: os.environ[n] for n in ENVIRONMENT if n in os.environ},
    }


def of_part(
    lock: Lock,
    verb: str,
    project: Project,
    config: Config,
    inputs: Mapping[str, Artifact],
    local: Mapping[str, str],
) -> Lock:
    """Return the lock of what a run makes by another operation, as a search does by training.

    Args:
        lock: Of the whole run.
        verb: The other operation.
        project: Its root counts.
        config: What it is done with.
        inputs: What it reads.
        local: Path and SHA-256 of each local file that it reads.
    """
    # Which version that operation has, a run of another one does not know.
    kept = {name: value for name, value in lock.items() if name != "operation_version"}
    return kept | {
        "operation": verb,
        "inputs": {name: artifact.id for name, artifact in inputs.items()},
        "config": without_private(config, project.root),
        "files": [_file(project, path, sha256) for path, sha256 in local.items() if sha256],
    }


def without_private(config: Config, root: Path) -> dict[str, Any]:
    """Return a config's values without secrets, and of paths outside the project the name alone."""

    def cleaned(value: Any, place: list[str]) -> Any:
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if not is_secret(type(config), [*place, k])}
            return {k: cleaned(v, [*place, k]) for k, v in kept.items()}
        if isinstance(value, list):
            return [cleaned(item, [*place, "0"]) for item in value]
        # What a plugin calls text may be a path all the same; a prompt may look like one.
        hides = isinstance(value, str) and (
            is_path(type(config), place) or PurePath(value).is_absolute() and _exists(value)
        )
        return _inside(value, root) if hides else value

    values: dict[str, Any] = cleaned(config.model_dump(mode="json"), [])
    return values


def _inside(value: str, root: Path) -> str:
    """Return a value as it is, a path within the project from its root, another by its name."""
    path = PurePath(value)
    if "\n" in value or not (path.is_absolute() or value.startswith(("~", "../", "..\\"))):
        return value
    return (
        path.relative_to(root).as_posix() if path.is_relative_to(root) else f"{OUTSIDE}/{path.name}"
    )


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False


def _file(project: Project, path: str, sha256: str) -> dict[str, str]:
    """Return what is said of a local file; of a manifest also whose it is."""
    said = {"path": _inside(path, project.root), "sha256": sha256}
    file = project.root / path
    if file.name == MANIFEST:
        # Another program's file may have this name too.
        with contextlib.suppress(LLMwrightError, KeyError):
            artifact = Artifact.open(file.parent)
            said |= {"kind": artifact.kind, "artifact": artifact.id}
    return said


def write(folder: Path, lock: Lock) -> None:
    """Write ``run.lock.json``, with a digest by which a later change is seen.

    Raises:
        ResourceError: As `files.write_json`.
    """
    body = {name: value for name, value in lock.items() if name != "digest"}
    files.write_json(folder / LOCK_FILE, body | {"digest": files.sha256_json(body)})


def continued(folder: Path, lock: Lock) -> tuple[Lock, list[str]]:
    """Return the lock of a run that goes on, and what is otherwise now than when it was begun.

    Where something is, the lock says under ``before`` what calculated until then, the first start
    first: the result is of all of them.

    Args:
        folder: The run's own, where the lock of the start before may lie.
        lock: Of this start.
    """
    try:
        old, _ = read(folder / LOCK_FILE)
    except InputError:
        # Killed before it was there: nothing was calculated yet.
        return lock, []
    before = old.get("before", [])
    changes = [f"{name}: {then} → {now}" for name, then, now in differences(old, lock)]
    if changes:
        before = [*before, {part: old.get(part, {}) for part in FACTS}]
    return lock | ({"before": before} if before else {}), changes


def result_of(artifact: Artifact) -> dict[str, Any]:
    """Return what a lock says of the artifact that was made: id, kind and hash of each file."""
    listing = read_manifest(artifact.path)["files"]
    hashes = {name: entry["sha256"] for name, entry in listing.items()}
    return {"artifact": artifact.id, "kind": artifact.kind, "files": hashes}


def read(path: Path) -> tuple[Lock, bool]:
    """Return the lock in a file, and whether it is as it was written.

    Raises:
        InputError: It cannot be read or is no lock (``CORE-120``).
    """
    try:
        lock: Lock = files.read_json(path)
        digest = lock.pop("digest", "")
        missing = {"version", "run", "operation", "config", "inputs"} - set(lock)
    except (OSError, ValueError, AttributeError) as error:
        raise InputError("CORE-120", path=path, reason=str(error)) from error
    if missing:
        raise InputError("CORE-120", path=path, reason=", ".join(sorted(missing)))
    return lock, files.sha256_json(lock) == digest


def of_artifact(artifact: Artifact) -> Lock:
    """Return the lock of the run that made an artifact.

    Raises:
        InputError: Its manifest has none (``CORE-120``): it was made otherwise, or long ago.
    """
    origin: Lock = dict(read_manifest(artifact.path)["origin"])
    if "version" not in origin:
        raise InputError("CORE-120", path=artifact.path / MANIFEST, reason="version")
    return origin | {"result": result_of(artifact)}


def differences(lock: Lock, now: Lock) -> Iterator[tuple[str, str, str]]:
    """Yield name, value then and value now of what is otherwise: code, libraries, machine."""
    for part in FACTS:
        then, present = layers.flat(lock.get(part, {})), layers.flat(now.get(part, {}))
        for name in sorted({*then, *present}):
            if then.get(name) != present.get(name):
                yield f"{part}.{name}", _said(then.get(name)), _said(present.get(name))


def _said(value: Any) -> str:
    return "-" if value in (None, "", []) else str(value)
