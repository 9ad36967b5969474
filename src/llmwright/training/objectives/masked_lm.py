"""Predict masked tokens from all that stands around them.

Source: Devlin et al. 2019 (arXiv:1810.04805), section 3.1.

Shapes: B rows, T tokens, N masked tokens, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from llmwright.tasks.fill_mask import mask_tokens
from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.objectives.config import MaskedLMLoss
from llmwright.training.objectives.headed import HeadedObjective
from llmwright.training.objectives.objective import ObjectiveRequest, inputs_of


class MaskedLMObjective(HeadedObjective):
    """Cross entropy of masked tokens; others are masked in each epoch, the same on the next run."""

    kind: MaskedLMLoss

    def __init__(self, kind: MaskedLMLoss, request: ObjectiveRequest) -> None:
        super().__init__(kind, request)
        self._contract, self._seed = request.contract, request.seed

    def arrays(self, batch: Batch) -> Batch:
        """Return texts with masked tokens, and what stood there."""
        masked_BT, labels_BT = batch["input_ids"].copy(), np.empty_like(batch["input_ids"])
        for row, key in enumerate(batch["keys"]):
            random = np.random.default_rng([self._seed, *key])
            masked_BT[row], labels_BT[row] = mask_tokens(
                masked_BT[row], random, self._contract, self.kind.share
            )
        labels = labels_BT.reshape(-1)
        positions_N = np.flatnonzero(labels != IGNORE)
        inputs = inputs_of({**batch, "input_ids": masked_BT})
        return {**inputs, "targets": labels[positions_N], "positions": positions_N}
