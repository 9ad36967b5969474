"""Predict a tag for each word, at its first piece.

Shapes: B rows, T tokens, N words, C tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor

from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.objectives.objective import Objective, Tensors, inputs_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask")


class TaggingObjective(Objective):
    """Cross entropy of the tags of all words."""

    weighs_classes: ClassVar[bool] = True

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
