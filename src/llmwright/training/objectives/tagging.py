"""Predict a tag for each word, at its first piece.

Most words are O, outside of everything, so that most answers of a model that only says O are right.
Therefore only words count as predictions that are called something else, or should be.

Shapes: B rows, T tokens, N words, C tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor

from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.objectives.config import ObjectiveKind
from llmwright.training.objectives.objective import (
    Objective,
    ObjectiveRequest,
    Score,
    Tensors,
    inputs_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask")
OUTSIDE = "O"


class TaggingObjective(Objective):
    """Cross entropy of the tags of all words."""

    weighs_classes: ClassVar[bool] = True

    def __init__(self, kind: ObjectiveKind, request: ObjectiveRequest) -> None:
        super().__init__(kind, request)
        labels = request.contract.labels
        self._outside = labels.index(OUTSIDE) if OUTSIDE in labels else -1

    def arrays(self, batch: Batch) -> Batch:
        """Return the tokens, and tags and positions of first pieces."""
        labels = batch["labels"].reshape(-1)
        positions_N = np.flatnonzero(labels != IGNORE)
        return {**inputs_of(batch), "targets": labels[positions_N], "positions": positions_N}

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NC of the words."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        logits_BTC: Tensor = model(**inputs).logits
        return logits_BTC.flatten(0, 1).index_select(0, tensors["positions"])

    def _judged(self, losses_N: Tensor, answers_N: Tensor, targets_N: Tensor) -> Score:
        judged_N = (answers_N != self._outside) | (targets_N != self._outside)
        return Score(losses_N, judged_N & (answers_N == targets_N), judged_N)
