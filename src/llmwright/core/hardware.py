"""What this machine offers to us: cores and memory after affinity and container limits, GPUs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU, as its driver reports it."""

    name: str
    memory_bytes: int
    free_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Hardware:
    """The machine as a run may use it.

    Attributes:
        num_cores: Cores by affinity and cgroup quota, at least 1.
        memory_bytes: Memory by machine and cgroup.
        available_memory_bytes: What could be taken now without swapping.
        bf16: Whether the processor has bfloat16 arithmetic (AVX-512 BF16, AMX or Arm BF16).
        gpus: NVIDIA GPUs; empty without a driver.
        platform: Operating system and machine, as in ``Linux x86_64``.
    """

    num_cores: int
    memory_bytes: int
    available_memory_bytes: int
    bf16: bool
    gpus: tuple[Gpu, ...]
    platform: str


def hardware() -> Hardware:
    """Look at the machine now."""
    memory = psutil.virtual_memory()
    limit = _cgroup_memory_bytes()
    total = min(memory.total, limit) if limit else memory.total
    used = _cgroup_used_bytes() if limit else None
    available = (
        min(memory.available, limit - used) if limit and used is not None else memory.available
    )
    return Hardware(
        num_cores=num_cores(),
        memory_bytes=total,
        available_memory_bytes=max(0, available),
        bf16=_has_bf16(),
        gpus=_gpus(),
        platform=f"{platform.system()} {platform.machine()}",
    )


def num_cores() -> int:
    """Return the cores this process may use: affinity, then the cgroup's CPU quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _read(CGROUP / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return max(1, cores)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _cgroup_memory_bytes() -> int | None:
    limit = (
        _read(CGROUP / "memory.max").strip()
        or _read(CGROUP / "memory" / "memory.limit_in_bytes").strip()
    )
    # cgroup v1 writes "no limit" as a number near 2**63.
    return int(limit) if limit.isdigit() and int(limit) < 1 << 60 else None


def _cgroup_used_bytes() -> int | None:
    used = _read(CGROUP / "memory.current").strip()
    return int(used) if used.isdigit() else None


def _has_bf16() -> bool:
    flags = _read(Path("/proc/cpuinfo"))
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def _gpus() -> tuple[Gpu, ...]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        name = pynvml.nvmlDeviceGetName(handle)
        found.append(Gpu(str(name), int(memory.total), int(memory.free), (major, minor)))
    pynvml.nvmlShutdown()
    return tuple(found)
