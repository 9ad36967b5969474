"""Predict each next token: language models, completions, conversations.

Shapes: B rows, T tokens, N targets, D hidden size, V vocabulary.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from llmwright.core.errors import ConfigError
from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.objectives.config import ObjectiveKind
from llmwright.training.objectives.objective import (
    Objective,
    ObjectiveRequest,
    Tensors,
    inputs_of,
    is_autoencoder,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Outputs closer than this are the same; float32 sums in another order differ by less.
SAME = 1e-4
# A causal model computes the very same from the same tokens, whatever follows.
UNTOUCHED = 1e-5


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
        self.plain_head = has_plain_head(request.model)
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

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NV at the labelled positions only: the others never meet the head."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        if self.plain_head:
            hidden = model.base_model(**inputs, **self._options)[0].flatten(0, 1)
            return model.get_output_embeddings()(_select(hidden, tensors))
        logits = model(**inputs, **self._options).logits.flatten(0, 1)
        return _select(logits, tensors)


INPUTS = ("input_ids", "attention_mask")


def _select(values: Tensor, tensors: Tensors) -> Tensor:
    positions_N = tensors.get("positions")
    return values if positions_N is None else values.index_select(0, positions_N)


def call_options(model: PreTrainedModel) -> dict[str, Any]:
    """Return what switches off the cache that only generation needs, where the model has one."""
    known = inspect.signature(model.forward).parameters
    return {"use_cache": False} if "use_cache" in known else {}


@torch.no_grad()
def looks_ahead(model: PreTrainedModel) -> bool:
    """Say whether what a model says about a token depends on those after it. Tried, not believed.

    Such a model reads the answer: its loss falls to nothing, and it has learned nothing.
    """
    ids_BT = _trial_ids(model)
    other_BT = ids_BT.clone()
    other_BT[:, 3:] = ids_BT[:, :2]
    before, after = (_evaluated(model, ids)[:, :3] for ids in (ids_BT, other_BT))
    largest_change, size = (before - after).abs().max(), before.abs().max()
    return bool(largest_change > UNTOUCHED * size)


@torch.no_grad()
def needs_mask(model: PreTrainedModel) -> bool:
    """Say whether padding on the right changes what a model says about the tokens before it.

    A causal model never looks to the right, so it can do without a mask. This is tried, not
    believed.
    """
    short_BT = _trial_ids(model)
    padded_BT = torch.cat([short_BT, short_BT[:, :3]], dim=1)
    alone = _evaluated(model, short_BT)
    return not torch.allclose(
        _evaluated(model, padded_BT)[:, : short_BT.shape[1]], alone, atol=SAME
    )


@torch.no_grad()
def has_plain_head(model: PreTrainedModel) -> bool:
    """Say whether the logits are the output layer of the body's last vectors and nothing else.

    Only asked of transformers' own models; others may do more in training than in evaluation.
    """
    head = model.get_output_embeddings()
    if head is None or not type(model).__module__.startswith("transformers.models."):
        return False
    ids_BT = _trial_ids(model)
    training = model.training
    model.eval()
    hidden = model.base_model(input_ids=ids_BT)[0]
    model.train(training)
    same_size = hidden.shape[-1] == head.weight.shape[-1]
    return bool(same_size and torch.allclose(head(hidden), _evaluated(model, ids_BT), atol=SAME))


def _evaluated(model: PreTrainedModel, ids_BT: Tensor) -> Tensor:
    training = model.training
    model.eval()
    logits_BTV: Tensor = model(input_ids=ids_BT).logits.float()
    model.train(training)
    return logits_BTV


def _trial_ids(model: PreTrainedModel) -> Tensor:
    """Return a few ids, 2 rows of 5 tokens."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(10, device=model.device) % vocabulary
    return ids.reshape(2, 5)
