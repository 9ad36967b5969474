"""Learn a score by which chosen answers are ahead of rejected ones.

Source: Bradley and Terry 1952; Ouyang et al. 2022 (arXiv:2203.02155), equation 1; centring:
Eisenstein et al. 2023 (arXiv:2312.09244), equation 6.

Shapes: B pairs, S sequences: B chosen answers, then B rejected ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from llmwright.tasks.task import Batch
from llmwright.training.objectives.judged_config import RewardLoss
from llmwright.training.objectives.objective import (
    Objective,
    Score,
    Tensors,
    inputs_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask")


class RewardObjective(Objective):
    """Cross entropy of which answer was chosen; a pair is right where its chosen one is ahead."""

    kind: RewardLoss
    smooths_labels: ClassVar[bool] = False

    def arrays(self, batch: Batch) -> Batch:
        """Return the texts of all chosen and all rejected answers."""
        return inputs_of(batch)

    def num_targets(self, arrays: Batch) -> int:
        """Return the number of pairs."""
        return len(arrays["input_ids"]) // 2

    def rows_of(self, arrays: Batch) -> np.ndarray:
        """Return the pairs themselves: each is one target."""
        return np.arange(self.num_targets(arrays))

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return scores_S1."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        scores_S1: Tensor = model(**inputs).logits
        return scores_S1

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return losses_B."""
        chosen_B, rejected_B = self._scores(model, tensors)
        centred_B = (chosen_B + rejected_B).square()
        return -logsigmoid(chosen_B - rejected_B) + self.kind.centring * centred_B

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return losses_B without centring, and for which pairs the chosen answer is ahead."""
        chosen_B, rejected_B = self._scores(model, tensors)
        right_B = chosen_B > rejected_B
        losses_B = -logsigmoid(chosen_B - rejected_B)
        return Score(losses_B, right_B, torch.ones_like(right_B))

    def _scores(self, model: PreTrainedModel, tensors: Tensors) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = self.logits(model, tensors).squeeze(-1).float().chunk(2)
        return chosen_B, rejected_B
