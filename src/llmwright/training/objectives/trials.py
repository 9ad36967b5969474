"""What a model needs and does, tried instead of believed.

Shapes: B rows, T tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Outputs closer than this are the same; float32 sums in another order differ by less.
SAME = 1e-4
# A causal model computes the very same from the same tokens, whatever follows.
UNTOUCHED = 1e-5


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
def find_head(model: PreTrainedModel) -> nn.Module | None:
    """Return the part that makes logits of the body's last vectors; None where more is done.

    With it, only those tokens need logits that are learned. Only asked of transformers' own
    models; others may do more in training than in evaluation.
    """
    body = model.base_model
    if body is model or not type(model).__module__.startswith("transformers.models."):
        return None
    ids_BT = _trial_ids(model)
    training = model.training
    model.eval()
    hidden_BTD = body(input_ids=ids_BT)[0]
    model.train(training)
    wanted_BTV = _evaluated(model, ids_BT)
    for part in model.children():
        if part is not body and _makes(part, hidden_BTD, wanted_BTV):
            return part
    return None


def _makes(head: nn.Module, hidden_BTD: Tensor, logits_BTV: Tensor) -> bool:
    """Say whether a part of a model makes these logits of these vectors, with nothing random."""
    if any(isinstance(part, nn.Dropout) and part.p for part in head.modules()):
        return False
    try:
        found = head(hidden_BTD)
    except (TypeError, RuntimeError, NotImplementedError):
        # It takes something else, or vectors of another size.
        return False
    fits = isinstance(found, Tensor) and found.shape == logits_BTV.shape
    return fits and torch.allclose(found.float(), logits_BTV, atol=SAME)


@torch.no_grad()
def keeps_apart(model: PreTrainedModel) -> bool:
    """Say whether rows joined to one, told apart by their positions alone, stay strangers."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    one_BT = _trial_ids(model)
    joined_BT = one_BT.reshape(1, -1)
    positions_BT = torch.arange(one_BT.shape[1], device=one_BT.device).repeat(len(one_BT))[None]
    together = _evaluated(model, joined_BT, position_ids=positions_BT)
    return torch.allclose(together, _evaluated(model, one_BT).reshape(together.shape), atol=SAME)


def _evaluated(model: PreTrainedModel, ids_BT: Tensor, **more: Any) -> Tensor:
    training = model.training
    model.eval()
    logits_BTV: Tensor = model(input_ids=ids_BT, **call_options(model), **more).logits.float()
    model.train(training)
    return logits_BTV


def _trial_ids(model: PreTrainedModel) -> Tensor:
    """Return a few ids, 2 rows of 5 tokens."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(10, device=model.device) % vocabulary
    return ids.reshape(2, 5)
