"""How far a run has come: all that must be known to go on as if nothing had happened."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

# Beside a model's weights: its settings as resolved, history and evaluations.
TRAINING_FILE = "training.json"


@dataclass
class State:
    """Position of a run; plain numbers, so that it is saved as JSON.

    Attributes:
        step: Optimizer steps done.
        epoch: Passes over the data done.
        position: Batches of the present epoch done.
        tokens: Tokens read, padding not counted.
        seconds: Time spent in training, evaluation and saving left out.
        best_step: Step of the best evaluation so far; None before the first one.
        num_worse: Evaluations since then.
        stopped_early: Whether patience ended the run.
        grad_norm: Length of the last step's gradient before clipping; None where not measured.
        history: Training loss: mappings of step, loss, lr and, where it is measured, grad_norm.
        evaluations: Mappings of step, loss and accuracy on the validation split.
        micro_batch_tokens: Most tokens of a micro-batch, foreseen or found by running out of
            memory; None as long as whole batches fit.
        num_kills: How many kills for lack of memory that takes into account.
        num_skipped: Steps that changed nothing because their loss was bad.
        skipped_in_row: How many of them were the last ones.
        recent_losses: Those that say what is usual; kept only where spikes matter.
        unsaid_losses: Losses of the steps since the last entry of the history.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    num_worse: int = 0
    stopped_early: bool = False
    micro_batch_tokens: int | None = None
    num_kills: int = 0
    num_skipped: int = 0
    skipped_in_row: int = 0
    grad_norm: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    recent_losses: list[float] = field(default_factory=list)
    unsaid_losses: list[float] = field(default_factory=list)

    @property
    def best(self) -> dict[str, float] | None:
        """The best evaluation so far."""
        return next((e for e in self.evaluations if e["step"] == self.best_step), None)

    def to_json(self) -> dict[str, Any]:
        """Return it as a mapping."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> State:
        """Return the state of a mapping that `to_json` made, perhaps read from JSON.

        There a loss that is no number is null.
        """
        measured = [
            {name: math.nan if value is None else value for name, value in each.items()}
            for each in values.get("evaluations", [])
        ]
        return cls(**{**values, "evaluations": measured})
