"""Steps that must not change the weights: losses that are no numbers, and spikes.

What to think of a step is decided where its loss is, on the device; nothing is read back for it. A
refused step leaves weights and optimizer state as they were.

Shapes: W losses of the window.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from llmwright.training.state import State

# Losses that say what is usual: enough for a median, few enough to follow a loss that falls.
WINDOW = 64
# Before there are so many, nothing is unusual.
MIN_LOSSES = 16
# A loss that hardly varies would make anything a spike: deviations count as at least this share of
# the median.
MIN_DEVIATION = 0.01


class Verdict(IntEnum):
    """What is thought of a step."""

    GOOD = 0
    NO_NUMBER = 1
    SPIKE = 2


class Guard:
    """Looks at each loss and gradient before the step, and refuses the step where asked to.

    Args:
        on_nan: What happens to a loss or gradient that is no finite number.
        on_spike: What happens to a spike.
        spike_threshold: Median absolute deviations above the median that make one.
        device: Where losses are.
    """

    def __init__(
        self,
        on_nan: Literal["stop", "skip"] = "stop",
        on_spike: Literal["ignore", "skip", "stop"] = "ignore",
        spike_threshold: float = 10.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.on_nan, self.on_spike = on_nan, on_spike
        self._threshold = spike_threshold
        self._device = torch.device(device)
        self._window_W = torch.full((WINDOW,), math.nan, device=self._device)

    @property
    def needs_norm(self) -> bool:
        """Whether gradients must be measured though nothing clips them."""
        return self.on_nan == "skip"

    def begin(self, state: State) -> None:
        """Remember the losses before: what is usual outlives a kill."""
        known = state.recent_losses[-WINDOW:]
        values = [math.nan] * (WINDOW - len(known)) + known
        self._window_W = torch.tensor(values, device=self._device)

    def verdict(self, loss: Tensor, grad_norm: Tensor | None) -> Tensor:
        """Return a `Verdict`, as a number on the device."""
        finite = loss.isfinite() if grad_norm is None else (loss + grad_norm).isfinite()
        found = torch.where(finite, 0, int(Verdict.NO_NUMBER))
        if self.on_spike == "ignore":
            return found
        spike = finite & (loss > self._highest())
        shifted_W = torch.cat([self._window_W[1:], loss.detach().float().reshape(1)])
        # A spike counts, too: where losses stay high, that is what is usual.
        self._window_W = torch.where(finite, shifted_W, self._window_W)
        return torch.where(spike, int(Verdict.SPIKE), found)

    def _highest(self) -> Tensor:
        """Return the highest loss that is no spike; no number before enough losses are known."""
        window_W = self._window_W
        median = window_W.nanmedian()
        deviation = (window_W - median).abs().nanmedian()
        deviation = torch.maximum(deviation, MIN_DEVIATION * median.abs())
        enough = (~window_W.isnan()).sum() >= MIN_LOSSES
        return torch.where(enough, median + self._threshold * deviation, math.inf)

    def step(self, optimizer: Optimizer, verdict: Tensor) -> None:
        """Make the optimizer's step unless the verdict is bad.

        On a GPU, optimizers of torch that are fused look at the verdict themselves; for others it
        is read, and the processor waits for it, only where steps are to be skipped.
        """
        if verdict.device.type == "cpu":
            if verdict.item() == Verdict.GOOD:
                optimizer.step()
        elif getattr(optimizer, "_step_supports_amp_scaling", False):
            step_unless(optimizer, verdict)
        elif "skip" not in (self.on_nan, self.on_spike) or verdict.item() == Verdict.GOOD:
            optimizer.step()


def step_unless(optimizer: Optimizer, verdict: Tensor) -> None:
    """Make the step of a fused optimizer of torch where the verdict, on the device, is good."""
    # What gradient scaling of float16 uses to leave out a step that overflowed.
    optimizer.grad_scale, optimizer.found_inf = None, (verdict != 0).float()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
