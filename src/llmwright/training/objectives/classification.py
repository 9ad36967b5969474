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

    def loss(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return the summed loss."""
        return self._summed(self.logits(model, tensors), tensors["targets"], self.weights_C)

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return the summed plain loss and how many rows have exactly the right labels."""
        logits_BC, targets_BC = self.logits(model, tensors), tensors["targets"]
        right_B = ((logits_BC > 0) == (targets_BC > 0.5)).all(dim=-1)
        loss = self._summed(logits_BC, targets_BC, None)
        return Score(loss, right_B.sum(), torch.ones_like(right_B).sum())

    def _summed(self, logits_BC: Tensor, targets_BC: Tensor, weights_C: Tensor | None) -> Tensor:
        if weights_C is not None:
            weights_C = weights_C.to(logits_BC.device)
        return functional.binary_cross_entropy_with_logits(
            logits_BC.float(), targets_BC, reduction="sum", pos_weight=weights_C
        )
