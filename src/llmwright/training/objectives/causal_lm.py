"""Predict each next token: language models, completions, conversations.

Shapes: B rows, T tokens, N targets, D hidden size, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.data.packing import rows_of_positions
from llmwright.training.objectives.config import ObjectiveKind
from llmwright.training.objectives.headed import HeadedObjective
from llmwright.training.objectives.objective import (
    ObjectiveRequest,
    inputs_of,
    is_autoencoder,
)
from llmwright.training.objectives.trials import looks_ahead, needs_mask


class CausalLMObjective(HeadedObjective):
    """Cross entropy of each labelled token given those before it.

    Raises:
        ConfigError: The model is an autoencoder (``TRAIN-019``), or sees the token it is to predict
            (``TRAIN-018``).
    """

    def __init__(self, kind: ObjectiveKind, request: ObjectiveRequest) -> None:
        super().__init__(kind, request)
        name = type(request.model).__name__
        if is_autoencoder(request.model):
            raise ConfigError("TRAIN-019", model=name, objective=kind.kind)
        if looks_ahead(request.model):
            raise ConfigError("TRAIN-018", model=name)
        self.needs_mask = needs_mask(request.model)

    def economies(self) -> list[str]:
        """Say besides whether padding is hidden by a mask."""
        mask = "training.mask_needed" if self.needs_mask else "training.mask_left_out"
        return [text(mask), *super().economies()]

    def arrays(self, batch: Batch) -> Batch:
        """Return all tokens but the last as input, all but the first as targets."""
        arrays = inputs_of(batch, self.needs_mask)
        arrays = {name: array_BT[:, :-1] for name, array_BT in arrays.items()}
        labels = batch["labels"][:, 1:].reshape(-1)
        positions_N = np.flatnonzero(labels != IGNORE)
        if len(positions_N) == len(labels):
            return {**arrays, "targets": labels}
        return {**arrays, "targets": labels[positions_N], "positions": positions_N}

    def rows_of(self, arrays: Batch) -> np.ndarray:
        """Return the row of each labelled token; of rows joined to one, which of them."""
        if "position_ids" not in arrays:
            return super().rows_of(arrays)
        rows_T: np.ndarray = rows_of_positions(arrays["position_ids"][0])
        return rows_T[arrays.get("positions", slice(None))]
