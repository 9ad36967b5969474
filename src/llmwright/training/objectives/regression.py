"""Predict a number of a text.

Shapes: B rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from llmwright.tasks.task import Batch
from llmwright.training.objectives.classification import INPUTS
from llmwright.training.objectives.objective import Objective, Score, Tensors, inputs_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RegressionObjective(Objective):
    """Squared error of the standardised number, so that 1 is as good as always saying the mean."""

    smooths_labels: ClassVar[bool] = False

    def arrays(self, batch: Batch) -> Batch:
        """Return the texts and their standardised numbers."""
        return {**inputs_of(batch), "targets": batch["labels"]}

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return outputs_B1."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        outputs_B1: Tensor = model(**inputs).logits
        return outputs_B1

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return the squared error of each row."""
        outputs_B = self.logits(model, tensors).squeeze(-1).float()
        return (outputs_B - tensors["targets"]).square()

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return the squared errors; no number is simply right or wrong."""
        losses_B = self.losses(model, tensors, 1.0)
        nothing_B = torch.zeros_like(losses_B, dtype=torch.bool)
        return Score(losses_B, nothing_B, nothing_B)
