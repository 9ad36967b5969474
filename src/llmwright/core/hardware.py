"""What this machine offers to us: cores and memory after affinity and container limits, GPUs."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CGROUP = Path("/sys/fs/cgroup")
PROCESS_CGROUP = Path("/proc/self/cgroup")
MACHINE_COUNTS = Path("/proc/vmstat")
PROCESS_STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


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


@dataclass(frozen=True)
class Memory:
    """Memory by machine and cgroup: all of it, and what could be taken now without swapping."""

    total_bytes: int
    available_bytes: int


def memory() -> Memory:
    """Look at the memory now."""
    machine = psutil.virtual_memory()
    total, available = machine.total, machine.available
    limited = _cgroup_memory()
    if limited is not None:
        limit, used = limited
        total, available = min(total, limit), min(available, limit - used)
    return Memory(total, max(0, available))


def hardware() -> Hardware:
    """Look at the machine now."""
    found = memory()
    return Hardware(
        num_cores=num_cores(),
        memory_bytes=found.total_bytes,
        available_memory_bytes=found.available_bytes,
        bf16=_has_bf16(),
        gpus=_gpus(),
        platform=f"{platform.system()} {platform.machine()}",
    )


def forget_peak() -> None:
    """Let `peak_bytes` count from now on, where the system can do that (Linux)."""
    with contextlib.suppress(OSError):
        CLEAR_REFS.write_text("5", encoding="utf-8")


def peak_bytes() -> int:
    """Return the most memory this process ever had, or had since `forget_peak`."""
    for line in _read(PROCESS_STATUS).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    # Bytes on macOS, the only other system with this module that we meet.
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def num_cores() -> int:
    """Return the cores this process may use: affinity, then the cgroup's CPU quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for folder in _cgroups():
        cores = min(cores, _quota(folder) or cores)
    return max(1, cores)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _cgroups() -> list[Path]:
    """Return this process's control group and those above it: each may set a limit."""
    own = [
        line.split(":", 2)[2] for line in _read(PROCESS_CGROUP).splitlines() if line[:3] == "0::"
    ]
    folder = CGROUP / (own[0].strip("/") if own else "")
    return [path for path in (folder, *folder.parents) if path.is_relative_to(CGROUP)]


def _quota(folder: Path) -> int | None:
    """Return how many whole cores a control group may use, or None where it sets no limit."""
    quota = _read(folder / "cpu.max").split()
    if not quota:  # control groups version 1
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota = [_read(folder / "cpu" / name).strip() for name in names]
    if len(quota) != 2 or not (quota[0] + quota[1]).isdigit():
        return None
    return max(1, int(quota[0]) // int(quota[1]))


def _cgroup_memory() -> tuple[int, int] | None:
    """Return the tightest limit on memory and what is used of it, in bytes; None without one."""
    found = []
    for folder in _cgroups():
        limit = _read(folder / "memory.max").strip()
        used = _read(folder / "memory.current").strip()
        if not limit:  # version 1 writes "no limit" as a number near 2**63
            limit = _read(folder / "memory" / "memory.limit_in_bytes").strip()
            used = _read(folder / "memory" / "memory.usage_in_bytes").strip()
        if limit.isdigit() and int(limit) < 1 << 60:
            found.append((int(limit), int(used) if used.isdigit() else 0))
    return min(found, key=lambda pair: pair[0] - pair[1]) if found else None


def memory_kills() -> dict[str, int]:
    """Return how many processes were killed because memory ran out, by who counts them.

    This process's own control group comes first, the machine last; empty where nothing counts.
    """
    counts = {str(path): kills_at(path) for path in (*_own_counters(), MACHINE_COUNTS)}
    return {name: count for name, count in counts.items() if count is not None}


def kills_at(path: Path) -> int | None:
    """Return what one counter of such kills says; None where it is not there."""
    for line in _read(path).splitlines():
        name, _, number = line.partition(" ")
        if name == "oom_kill" and number.strip().isdigit():
            return int(number)
    return None


def _own_counters() -> Iterator[Path]:
    """Yield where kills in this process's own control group are counted, in either version."""
    for line in _read(PROCESS_CGROUP).splitlines():
        _, kinds, folder = line.split(":", 2)
        if not kinds:
            yield CGROUP / folder.strip("/") / "memory.events"
        elif "memory" in kinds.split(","):
            yield CGROUP / "memory" / folder.strip("/") / "memory.oom_control"


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
    # A GPU that is lost or may not be asked is none that a run could use.
    with contextlib.suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError):
                found.append(_gpu(pynvml.nvmlDeviceGetHandleByIndex(index)))
        pynvml.nvmlShutdown()
    return tuple(found)


def _gpu(handle: Any) -> Gpu:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    return Gpu(str(name), int(memory.total), int(memory.free), (major, minor))
