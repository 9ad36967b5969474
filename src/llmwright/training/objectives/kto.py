"""Learn from single answers that are good or bad.

Source: Ethayarajh et al. 2024 (arXiv:2402.01306), equation 8; the reference point is estimated from
prompts with the answers of other rows, as in section 4.1.

Shapes: B rows, S sequences: B judged answers, then B answers that belong to other prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from llmwright.tasks.preference import FLAG
from llmwright.tasks.task import Batch
from llmwright.training.objectives.judged import REFERENCE, JudgedObjective
from llmwright.training.objectives.judged_config import KtoLoss
from llmwright.training.objectives.objective import SURVEY, Score, Tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEXTS = ("input_ids", "attention_mask", "token_type_ids", "labels")
# Before the names of what belongs to the answers of other rows.
OTHER = "other_"


class KtoObjective(JudgedObjective):
    """Good answers are to gain more than the reference point, bad ones less.

    The reference point is the mean gain of the answers of other rows, over a whole step: they are
    read before it, without gradients.
    """

    kind: KtoLoss
    surveys: ClassVar[bool] = True

    def arrays(self, batch: Batch) -> Batch:
        """Return the judged texts, apart from them those with answers of other rows, and flags."""
        flag_B = batch[FLAG]
        size, texts = len(flag_B), [name for name in TEXTS if name in batch]
        judged = super().arrays({**batch, **{name: batch[name][:size] for name in texts}})
        others = super().arrays({name: batch[name][size:] for name in texts})
        return {**judged, **{OTHER + name: array for name, array in others.items()}, FLAG: flag_B}

    def num_targets(self, arrays: Batch) -> int:
        """Return the number of rows."""
        return len(arrays[FLAG])

    def log_probs(self, model: PreTrainedModel, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Return what `JudgedObjective.log_probs` returns, for texts of both kinds."""
        judged_B, counts_B = super().log_probs(model, tensors)
        other_B, other_counts_B = super().log_probs(model, _others(tensors))
        return torch.cat([judged_B, other_B]), torch.cat([counts_B, other_counts_B])

    def survey(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return the sum of the gains of answers of other rows, and their number."""
        log_probs_B, _ = super().log_probs(model, _others(tensors))
        gain_B = log_probs_B - tensors[REFERENCE][:, 1]
        return torch.stack([gain_B.sum(), torch.ones_like(gain_B).sum()])

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
        log_probs_B, _ = super().log_probs(model, tensors)
        gain_B = log_probs_B - tensors[REFERENCE][:, 0]
        # The divergence from the model of the start is never negative; its estimate may be.
        point = self._point(model, tensors).clamp(min=0)
        signs_B = 2.0 * tensors[FLAG] - 1
        return self.kind.beta * signs_B * (gain_B - point)

    @torch.no_grad()
    def _point(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return the mean gain of the answers of other rows; of these alone where nobody asked."""
        sums = tensors[SURVEY] if SURVEY in tensors else self.survey(model, tensors)
        return sums[0] / sums[1]


def _others(tensors: Tensors) -> Tensors:
    """Return what belongs to the answers of other rows, by its plain names."""
    return {
        name.removeprefix(OTHER): tensor
        for name, tensor in tensors.items()
        if name.startswith(OTHER)
    }
