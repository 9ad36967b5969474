"""How far two trainings of the same thing are apart: weights, losses, metrics, probes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmwright.core import files
from llmwright.core.operation import Finding
from llmwright.inference.proof.probes import Probe, Probes
from llmwright.training.state import TRAINING_FILE


def compare(recorded: Path, made: Path) -> list[Finding]:
    """Return what two model folders were compared in.

    Raises:
        InputError: One of them has no probes (``INFER-010``, ``INFER-011``).
    """
    then, now = (files.read_json(folder / TRAINING_FILE) for folder in (recorded, made))
    return [
        _weights(recorded, made),
        _figures("loss", _losses(then["history"]), _losses(now["history"])),
        _figures("validation", _measured(then["evaluations"]), _measured(now["evaluations"])),
        *_probes(Probes.open(recorded).probes, Probes.open(made).probes),
    ]


def _weights(recorded: Path, made: Path) -> Finding:
    """Return the largest difference of a weight; one tensor of each is in memory at a time."""
    places, others = _places(recorded), _places(made)
    same_shape = places.keys() == others.keys()
    equal, largest = same_shape, 0.0
    for name in places.keys() & others.keys():
        one, other = _tensor(places[name], name), _tensor(others[name], name)
        if one.shape != other.shape or one.dtype != other.dtype:
            same_shape = equal = False
        elif not one.equal(other):
            equal = False
            largest = max(largest, float((one.double() - other.double()).abs().max()))
    difference = largest if same_shape else None
    return Finding("weights", f"{len(places)}", f"{len(others)}", difference, equal)


def _places(folder: Path) -> dict[str, Path]:
    """Return which file each tensor of a model is in."""
    from safetensors import safe_open

    found: dict[str, Path] = {}
    # Probes are tensors too, but not the model's.
    for path in sorted(folder.glob("*model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def _tensor(path: Path, name: str) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def _losses(history: Sequence[dict[str, float]]) -> dict[str, float]:
    return {f"{entry['step']}": entry["loss"] for entry in history}


def _measured(evaluations: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        f"{entry['step']}.{name}": value
        for entry in evaluations
        for name, value in entry.items()
        if name != "step" and isinstance(value, int | float)
    }


def _figures(name: str, then: dict[str, float], now: dict[str, float]) -> Finding:
    """Return the largest difference of figures that were taken at the same steps."""
    difference = None
    if then.keys() == now.keys():
        difference = max((abs(then[key] - now[key]) for key in then), default=0.0)
    last = [f"{list(found.values())[-1]:.6g}" if found else "-" for found in (then, now)]
    return Finding(name, last[0], last[1], difference, then == now)


def _probes(then: Sequence[Probe], now: Sequence[Probe]) -> list[Finding]:
    """Return how many answers are the same, and how far outputs of the same inputs are apart."""
    pairs = list(zip(then, now, strict=False))
    same = sum(one.answer == other.answer for one, other in pairs)
    whole = len(then) == len(now) == same
    answers = Finding("answers", f"{len(then)}", f"{same}", None, whole)
    outputs = [_outputs(one, other) for one, other in pairs]
    known = [value for value in outputs if value is not None]
    difference = max(known, default=0.0) if len(known) == len(pairs) else None
    equal = whole and difference == 0.0
    return [answers, Finding("outputs", f"{len(then)}", f"{len(now)}", difference, equal)]


def _outputs(one: Probe, other: Probe) -> float | None:
    """Return the largest difference of logits or log-probabilities; None where none compares."""
    for name in ("logits", "top_log_probs_UK"):
        a, b = getattr(one, name), getattr(other, name)
        if a is not None and b is not None and a.shape == b.shape:
            return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
    return None
