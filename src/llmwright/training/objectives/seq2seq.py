"""Predict each token of the target from the input and the target so far.

Shapes: B rows, T input tokens, U target tokens, N targets, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor

from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.objectives.config import Seq2SeqLoss
from llmwright.training.objectives.objective import (
    Objective,
    ObjectiveRequest,
    Tensors,
    inputs_of,
)
from llmwright.training.objectives.trials import call_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask", "decoder_input_ids")


class Seq2SeqObjective(Objective):
    """Cross entropy of each target token; the decoder is causal and needs no mask."""

    grid: ClassVar[str] = "decoder_input_ids"

    def __init__(self, kind: Seq2SeqLoss, request: ObjectiveRequest) -> None:
        super().__init__(kind, request)
        self._options = call_options(request.model)

    def arrays(self, batch: Batch) -> Batch:
        """Return the inputs of encoder and decoder, and the targets that are not padding."""
        labels = batch["labels"].reshape(-1)
        positions_N = np.flatnonzero(labels != IGNORE)
        return {
            **inputs_of(batch),
            "decoder_input_ids": batch["decoder_input_ids"],
            "targets": labels[positions_N],
            "positions": positions_N,
        }

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NV of the targets."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        logits_BUV: Tensor = model(**inputs, **self._options).logits
        return logits_BUV.flatten(0, 1).index_select(0, tensors["positions"])
