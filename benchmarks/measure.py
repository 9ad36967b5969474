"""Shared by the benchmark scripts: time commands, say medians and spreads, name the machine."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def public_data(name: str) -> Path:
    """Return a file or folder of the larger public data, or end with a sentence."""
    path = Path(os.environ.get("LLMWRIGHT_DATA", "data")) / name
    if not path.exists():
        raise SystemExit(f"{path} is missing: set LLMWRIGHT_DATA to the data's folder, or --data")
    return path


def machine() -> str:
    """Return one line about this machine."""
    here = hardware()
    memory = here.memory_bytes / 2**30
    gpus = ", ".join(gpu.name for gpu in here.gpus) or "no GPU"
    return f"{platform.system()}, {here.num_cores} cores, {memory:.0f} GiB, {gpus}"


@dataclass(frozen=True)
class Side:
    """What one side of a training benchmark did.

    Attributes:
        tokens_per_second: After the warm-up; padding not counted.
        tokens_per_cpu_second: The same by the time of all cores together, which other programs
            beside it change less.
        warmup_seconds: The first steps, which are not counted in the speed.
        peak_bytes: Of the whole process: libraries, data, training, saving.
        result: Everything it wrote down.
    """

    tokens_per_second: float
    tokens_per_cpu_second: float
    warmup_seconds: float
    peak_bytes: int
    result: dict[str, Any]


def side(python: str, script: str, settings: dict[str, Any], warmup_steps: int) -> Side:
    """Run one side in a process of its own and return what it measured.

    Args:
        python: Interpreter that has what the script imports.
        script: File in `sides/`.
        settings: What the script reads.
        warmup_steps: Optimizer steps before the clock starts.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "settings.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(settings), encoding="utf-8")
        command = [python, str(Path(__file__).parent / "sides" / script), str(asked), str(answered)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{script} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        result: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    marks = result["marks"]
    first = next((mark for mark in marks if mark[0] >= warmup_steps), marks[0])
    wall, cpu, tokens = (marks[-1][i] - first[i] for i in (1, 2, 3))
    if wall <= 0:
        raise SystemExit(f"{script}: no steps after {warmup_steps} of warm-up")
    return Side(tokens / wall, tokens / cpu, first[1], result["peak_bytes"], result)


def needs(python: str, modules: Sequence[str], packages: str) -> None:
    """End with a sentence when a peer's Python cannot import what its side needs."""
    words = [python, "-c", "; ".join(f"import {name}" for name in modules)]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
        reason = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except OSError as error:
        reason = [str(error)]
    if reason:
        raise SystemExit(
            f"{python} cannot run the other side: {reason[0]}\nMake an environment for it:\n"
            f"  python -m venv peers && peers/bin/pip install {packages}\n"
            "and name it: --peer-python peers/bin/python"
        )
