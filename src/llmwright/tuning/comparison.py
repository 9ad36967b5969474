"""How far two searches for the same thing are apart: what was tried, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.operation import Finding
from llmwright.tuning.report import STUDY_FILE


def compare(recorded: Path, made: Path) -> list[Finding]:
    """Return what the folders of two studies were compared in."""
    then, now = (files.read_json(folder / STUDY_FILE) for folder in (recorded, made))
    tried = [[trial["values"] for trial in study["trials"]] for study in (then, now)]
    best = [study["trials"][study["best"] - 1]["values"] for study in (then, now)]
    return [
        Finding("tried", str(len(tried[0])), str(len(tried[1])), None, tried[0] == tried[1]),
        _values(then, now),
        Finding("best", str(then["best"]), str(now["best"]), None, best[0] == best[1]),
    ]


def _values(then: dict[str, Any], now: dict[str, Any]) -> Finding:
    """Return the largest difference of what a trial was compared by."""
    first, second = ([trial["value"] for trial in study["trials"]] for study in (then, now))
    same = [one is None for one in first] == [one is None for one in second]
    pairs = [(a, b) for a, b in zip(first, second, strict=False) if None not in (a, b)]
    largest = max((abs(a - b) for a, b in pairs), default=0.0) if same else None
    best = [f"{study['trials'][study['best'] - 1]['value']:.6g}" for study in (then, now)]
    return Finding("values", best[0], best[1], largest, first == second)
