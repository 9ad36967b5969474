"""A look at the machine, the libraries and the project, each finding with what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from llmwright.core import pipeline, plugins
from llmwright.core.hardware import hardware
from llmwright.core.locale import text
from llmwright.core.machine import toolchain
from llmwright.core.project import Project

GIGABYTE = 1 << 30
LOW_DISK_BYTES = 5 * GIGABYTE
LOW_MEMORY_BYTES = 3 * GIGABYTE


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        value: What was found.
        level: ok, warning or error.
        fix: What to do; empty when nothing.
    """

    name: str
    value: str
    level: Literal["ok", "warning", "error"] = "ok"
    fix: str = ""


def examine(project: Project) -> list[Finding]:
    """Return all findings, cheap ones only: nothing is downloaded or trained."""
    return [*_machine(project.root), *_libraries(), *_toolchains(), *_project(project)]


def _machine(root: Path) -> list[Finding]:
    machine = hardware()
    free = shutil.disk_usage(root).free
    memory = machine.available_memory_bytes
    python = Finding("python", f"{platform.python_version()}  {sys.executable}")
    gpus = ", ".join(f"{g.name} {g.memory_bytes / GIGABYTE:.0f} GiB" for g in machine.gpus)
    return [
        Finding("system", machine.platform),
        python,
        Finding("cores", str(machine.num_cores)),
        _low("memory", memory, LOW_MEMORY_BYTES, f"{machine.memory_bytes / GIGABYTE:.1f} GiB"),
        _low("disk", free, LOW_DISK_BYTES, str(root)),
        Finding("bf16", text("core.yes") if machine.bf16 else text("core.no")),
        Finding("gpu", gpus or text("core.no_gpu")),
    ]


def _low(name: str, num_bytes: int, limit: int, of: str) -> Finding:
    value = text("core.free_of", free=f"{num_bytes / GIGABYTE:.1f} GiB", of=of)
    if num_bytes < limit:
        fix = text(f"core.low_{name}", limit=f"{limit / GIGABYTE:.0f} GiB")
        return Finding(name, value, "warning", fix)
    return Finding(name, value)


def _libraries() -> list[Finding]:
    versions = pipeline.library_versions()
    found = []
    for name in pipeline.RECORDED:
        if name in versions:
            found.append(Finding(name, versions[name]))
        else:
            found.append(Finding(name, text("core.no"), "error", text("core.not_installed")))
    if "torch" in versions and not hardware().gpus and _is_cuda_build():
        found.append(Finding("torch", versions["torch"], "warning", text("core.cuda_torch")))
    return found


def _toolchains() -> list[Finding]:
    """Return the environments of tools; one that was never needed is no fault."""
    found = []
    for name in toolchain.TOOLCHAINS.names():
        tool = toolchain.TOOLCHAINS.get(name)
        ready = toolchain.state(tool)
        if ready is not None:
            shown = ", ".join(f"{each} {version}" for each, version in ready.versions.items())
        else:
            shown = tool.needs() or text("core.toolchain_absent")
        found.append(Finding("toolchain", f"{name}: {shown}"))
    return found


def _is_cuda_build() -> bool:
    """Say whether torch came with NVIDIA's libraries; its version alone does not tell."""
    needed = metadata.requires("torch") or []
    return any(name.startswith(("nvidia-", "cuda-")) for name in needed)


def _project(project: Project) -> list[Finding]:
    found = [Finding("project", str(project.file or text("core.no_project_file")))]
    try:
        with tempfile.TemporaryFile(dir=project.root):
            found.append(Finding("writable", text("core.yes")))
    except OSError as error:
        fix = text("core.make_writable", path=project.root)
        found.append(Finding("writable", str(error.strerror), "error", fix))
    for plugin in plugins.project_plugins(project):
        if not plugin.trusted:
            fix = f"llmwright plugins trust {plugin.path}"
            found.append(Finding("plugin", plugin.path.name, "warning", fix))
    mirror = os.environ.get("HF_ENDPOINT")
    offline = os.environ.get("HF_HUB_OFFLINE")
    hub = text("core.hub_offline") if offline else mirror or text("core.hub_default")
    found.append(Finding("hub", hub))
    return found
