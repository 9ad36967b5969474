"""What a run took in truth: seconds and memory, to be held against what was planned."""

from __future__ import annotations

import time
from typing import Any

import torch

from llmwright.core import hardware
from llmwright.training.footprint.memory import Memory
from llmwright.training.state import State


class Meter:
    """Measures from its making on.

    Attributes:
        predicted: The memory that was foreseen; None where nobody looked.
    """

    def __init__(self) -> None:
        self.predicted: Memory | None = None
        self._started = time.monotonic()
        hardware.forget_peak()

    def reading(self, state: State) -> dict[str, Any]:
        """Return what was taken so far, for the manifest: it is no part of an artifact's id."""
        found: dict[str, Any] = {
            "seconds": round(time.monotonic() - self._started, 3),
            "training_seconds": round(state.seconds, 3),
            "peak_memory_bytes": hardware.peak_bytes(),
        }
        if torch.cuda.is_initialized():
            found["peak_gpu_bytes"] = torch.cuda.max_memory_reserved()
        if self.predicted is not None:
            found["predicted_memory_bytes"] = self.predicted.peak
        return found
