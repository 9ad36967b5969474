"""Predict masked tokens from all that stands around them.

Source: Devlin et al. 2019 (arXiv:1810.04805), section 3.1.

Shapes: B rows, T tokens, N masked tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from llmwright.tasks.masking import mask_tokens
from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.objectives.config import MaskedLMLoss
from llmwright.training.objectives.objective import (
    Objective,
    ObjectiveRequest,
    Tensors,
    inputs_of,
)
from llmwright.training.objectives.trials import find_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask")


class MaskedLMObjective(Objective):
    """Cross entropy of masked tokens; others are masked in each epoch, the same on the next run."""

    def __init__(self, kind: MaskedLMLoss, request: ObjectiveRequest) -> None:
        super().__init__(kind, request)
        self.kind, self._contract, self._seed = kind, request.contract, request.config.seed
        self._num_tokens = int(request.model.get_input_embeddings().weight.shape[0])
        self.head = find_head(request.model)

    def arrays(self, batch: Batch) -> Batch:
        """Return texts with masked tokens, and what stood there."""
        masked_BT, labels_BT = batch["input_ids"].copy(), np.empty_like(batch["input_ids"])
        for row, key in enumerate(batch["keys"]):
            random = np.random.default_rng([self._seed, *key])
            masked_BT[row], labels_BT[row] = mask_tokens(
                masked_BT[row], random, self._contract, self._num_tokens, self.kind.share
            )
        labels = labels_BT.reshape(-1)
        positions_N = np.flatnonzero(labels != IGNORE)
        inputs = inputs_of({**batch, "input_ids": masked_BT})
        return {**inputs, "targets": labels[positions_N], "positions": positions_N}

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NV of the masked tokens alone."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        if self.head is not None:
            hidden = model.base_model(**inputs)[0].flatten(0, 1)
            logits_NV: Tensor = self.head(hidden.index_select(0, tensors["positions"]))
            return logits_NV
        logits = model(**inputs).logits.flatten(0, 1)
        return logits.index_select(0, tensors["positions"])
