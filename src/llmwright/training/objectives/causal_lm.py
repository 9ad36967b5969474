"""Predict each next token: language models, completions, conversations.

Shapes: B rows, T tokens, N targets, D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from llmwright.core.errors import ConfigError
from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.data.packing import rows_of_positions
from llmwright.training.objectives.config import ObjectiveKind
from llmwright.training.objectives.objective import (
    Objective,
    ObjectiveRequest,
    Tensors,
    inputs_of,
    is_autoencoder,
)
from llmwright.training.objectives.trials import call_options, find_head, looks_ahead, needs_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CausalLMObjective(Objective):
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
        self.head = find_head(request.model)
        self._options = call_options(request.model)

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

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NV at the labelled positions only: the others never meet the head."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        if self.head is not None:
            hidden = model.base_model(**inputs, **self._options)[0].flatten(0, 1)
            logits_NV: Tensor = self.head(_select(hidden, tensors))
            return logits_NV
        logits = model(**inputs, **self._options).logits.flatten(0, 1)
        return _select(logits, tensors)


INPUTS = ("input_ids", "attention_mask", "position_ids")


def _select(values: Tensor, tensors: Tensors) -> Tensor:
    positions_N = tensors.get("positions")
    return values if positions_N is None else values.index_select(0, positions_N)
