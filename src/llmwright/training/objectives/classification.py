"""Predict the label of a text, or each of several labels.

Shapes: B rows, C labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from llmwright.tasks.task import Batch
from llmwright.training.objectives.config import ClassificationLoss
from llmwright.training.objectives.objective import (
    Objective,
    ObjectiveRequest,
    Score,
    Tensors,
    inputs_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def build(kind: ClassificationLoss, request: ObjectiveRequest) -> Objective:
    """Return the objective for one label per text, or for several."""
    if request.contract.multi_label:
        return MultiLabelObjective(kind, request)
    return SingleLabelObjective(kind, request)


class SingleLabelObjective(Objective):
    """Cross entropy of the label."""

    weighs_classes: ClassVar[bool] = True

    def arrays(self, batch: Batch) -> Batch:
        """Return the texts and their label indices."""
        return {**inputs_of(batch), "targets": batch["labels"]}

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_BC."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        logits_BC: Tensor = model(**inputs).logits
        return logits_BC


class MultiLabelObjective(SingleLabelObjective):
    """Binary cross entropy of each label; class weights weigh a label's presence."""

    smooths_labels: ClassVar[bool] = False

    def weight(self, arrays: Batch) -> float:
        """Return the number of yes-or-no questions."""
        return float(self.num_targets(arrays))

    def num_targets(self, arrays: Batch) -> int:
        """Return the number of yes-or-no questions."""
        return int(arrays["targets"].size)

    def losses_of(self, logits_NC: Tensor, tensors: Tensors) -> Tensor:
        """Return the weighted loss of each question, row by row."""
        return self._each(logits_NC, tensors["targets"], self.weights_C)

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return the plain loss of each question; a row is right when all its answers are.

        The first question of a row stands for the whole row.
        """
        logits_BC, targets_BC = self.logits(model, tensors), tensors["targets"]
        judged_BC = torch.zeros_like(targets_BC, dtype=torch.bool)
        judged_BC[:, 0] = True
        right_B1 = ((logits_BC > 0) == (targets_BC > 0.5)).all(dim=-1, keepdim=True)
        losses = self._each(logits_BC, targets_BC, None)
        return Score(losses, (right_B1 & judged_BC).flatten(), judged_BC.flatten())

    def _each(self, logits_BC: Tensor, targets_BC: Tensor, weights_C: Tensor | None) -> Tensor:
        if weights_C is not None:
            weights_C = weights_C.to(logits_BC.device)
        return functional.binary_cross_entropy_with_logits(
            logits_BC.float(), targets_BC, reduction="none", pos_weight=weights_C
        ).flatten()
