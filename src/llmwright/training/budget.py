"""How long a run lasts: steps, epochs, tokens or minutes, whichever is reached first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmwright.core.locale import text
from llmwright.training.config import TrainConfig
from llmwright.training.optimizers.config import ScheduleKind
from llmwright.training.state import State

if TYPE_CHECKING:
    from llmwright.training.data.batching import Batches

DEFAULT_EPOCHS = 3.0


@dataclass(frozen=True)
class Budget:
    """Limits of a run; None where there is none.

    Attributes:
        max_steps: Optimizer steps, epochs counted in.
        max_tokens: Tokens read.
        max_seconds: Seconds of training.
        tokens_per_step: Mean over the first epoch, to foresee how many steps the tokens make.
    """

    max_steps: int | None
    max_tokens: int | None
    max_seconds: float | None
    tokens_per_step: float

    @classmethod
    def of(cls, config: TrainConfig, batches: Batches) -> Budget:
        """Return the budget of a config; 3 epochs when it names none."""
        others = (config.max_steps, config.max_tokens, config.max_minutes)
        epochs = config.epochs
        if epochs is None and all(limit is None for limit in others):
            epochs = DEFAULT_EPOCHS
        steps = [] if config.max_steps is None else [config.max_steps]
        if epochs is not None:
            steps.append(max(1, steps_in(epochs, batches, config.accumulate)))
        per_epoch = steps_in(1.0, batches, config.accumulate)
        return cls(
            min(steps, default=None),
            config.max_tokens,
            None if config.max_minutes is None else config.max_minutes * 60,
            batches.num_tokens / per_epoch,
        )

    def describe(self) -> str:
        """Return the number of steps, in words of the user's language where it is not certain."""
        total = self.total_steps(State())
        if math.isinf(total):
            return text("training.unknown_steps")
        return f"{total:,.0f}" if total == self.max_steps else f"≈ {total:,.0f}"

    def reached(self, state: State) -> bool:
        """Say whether the run is over."""
        limits = (
            (state.step, self.max_steps),
            (state.tokens, self.max_tokens),
            (state.seconds, self.max_seconds),
        )
        return any(limit is not None and done >= limit for done, limit in limits)

    def total_steps(self, state: State) -> float:
        """Return how many steps the whole run has: exactly, or foreseen from what is done."""
        totals: list[float] = [] if self.max_steps is None else [float(self.max_steps)]
        if self.max_tokens is not None:
            per_step = state.tokens / state.step if state.step else self.tokens_per_step
            totals.append(max(1.0, self.max_tokens / per_step))
        if self.max_seconds is not None:
            # Before the first step nothing is known: as good as without end.
            seconds = state.seconds / state.step if state.step else 0.0
            totals.append(self.max_seconds / seconds if seconds > 0 else math.inf)
        return min(totals)


def steps_in(epochs: float, batches: Batches, accumulate: int) -> int:
    """Return the optimizer steps in a number of epochs."""
    whole = math.floor(epochs)
    steps = sum(math.ceil(batches.num_batches(e) / accumulate) for e in range(whole))
    if epochs > whole:
        steps += round((epochs - whole) * math.ceil(batches.num_batches(whole) / accumulate))
    return steps


def lr_factor(schedule: ScheduleKind, step: int, total_steps: float) -> float:
    """Return the share of the full learning rate in one optimizer step.

    Args:
        schedule: Warm-up and shape.
        step: Steps done before this one.
        total_steps: Steps of the whole run; infinite where they cannot be foreseen yet.
    """
    warmup = schedule.warmup_steps
    if warmup is None and math.isinf(total_steps):
        return 0.0 if schedule.warmup_fraction else 1.0
    steps = round(schedule.warmup_fraction * total_steps) if warmup is None else warmup
    if step < steps:
        return (step + 1) / steps
    left = total_steps - steps
    return schedule.factor(min(1.0, (step - steps) / left) if left > 0 else 1.0)
