"""Learn from single answers that are good or bad.

Source: Ethayarajh et al. 2024 (arXiv:2402.01306), equation 8; the reference point is estimated from
prompts with the answers of other rows, as in section 4.1.

Shapes: B rows, S sequences: B judged answers, then B answers that belong to other prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmwright.tasks.preference import FLAG
from llmwright.tasks.task import Batch
from llmwright.training.objectives.judged import JudgedObjective, gains
from llmwright.training.objectives.judged_config import KtoLoss
from llmwright.training.objectives.objective import Score, Tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class KtoObjective(JudgedObjective):
    """Good answers are to gain more than the reference point, bad ones less."""

    kind: KtoLoss

    def arrays(self, batch: Batch) -> Batch:
        """Return what `JudgedObjective.arrays` returns, and the flags."""
        return {**super().arrays(batch), FLAG: batch[FLAG]}

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return losses_B, weighted by whether the answer is good or bad."""
        good_B = tensors[FLAG].bool()
        weights_B = torch.where(good_B, self.kind.good_weight, self.kind.bad_weight)
        return weights_B * (1 - torch.sigmoid(self._ahead(model, tensors)))

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return unweighted losses_B, and which answers are on their side of the reference."""
        ahead_B = self._ahead(model, tensors)
        right_B = ahead_B > 0
        return Score(1 - torch.sigmoid(ahead_B), right_B, torch.ones_like(right_B))

    def _ahead(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return by how much each answer is on its own side of the reference point."""
        log_probs_S, _ = self.log_probs(model, tensors)
        gain_B, other_gain_B = gains(log_probs_S, tensors)
        # The divergence from the model of the start is never negative; its estimate may be.
        point = other_gain_B.mean().clamp(min=0).detach()
        signs_B = 2.0 * tensors[FLAG] - 1
        return self.kind.beta * signs_B * (gain_B - point)
