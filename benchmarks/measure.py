"""Shared by the benchmark scripts: time commands, say medians and spreads, name the machine."""

from __future__ import annotations

import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from llmwright.core.hardware import hardware


@dataclass(frozen=True)
class Timing:
    """One finished command: wall seconds, user + system seconds, peak memory in bytes."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def timed(command: Sequence[str], **kwargs: object) -> Timing:
    """Run a command to its end and return what it cost; its output is thrown away."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, **kwargs)  # type: ignore[call-overload]
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # ru_maxrss is the largest child so far, in KiB: an upper bound for this one.
    return Timing(wall, cpu, after.ru_maxrss * 1024)


def spread(values: Sequence[float]) -> str:
    """Return ``median (min to max)``."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def machine() -> str:
    """Return one line about this machine."""
    here = hardware()
    memory = here.memory_bytes / 2**30
    gpus = ", ".join(gpu.name for gpu in here.gpus) or "no GPU"
    return f"{platform.system()}, {here.num_cores} cores, {memory:.0f} GiB, {gpus}"
