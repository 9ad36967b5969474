"""What each side of a training benchmark writes down; needs the standard library only.

A side is a script of its own, run by its own Python: `python SIDE.py SETTINGS.json RESULT.json`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def settings() -> dict[str, Any]:
    """Return what the benchmark wants of this side."""
    values: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return values


class Marks:
    """When how many tokens had been read: one mark after each optimizer step, at most.

    A mark is the step, wall seconds, seconds of all processor cores together, and tokens.
    """

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()
        self._marks: list[tuple[int, float, float, float]] = []

    def step(self, step: int, tokens: float) -> None:
        """Take down that a step is over, and all tokens read so far, padding not counted."""
        wall, cpu = self._begun
        now = time.perf_counter() - wall, time.process_time() - cpu
        self._marks.append((step, *now, tokens))

    def write(self, **more: Any) -> None:
        """Write the result file, with this process's peak memory."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        result = {"marks": self._marks, "peak_bytes": peak, **more}
        Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
