"""What an adapter is made from, and what of a model changes in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.config import Kind
from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.models import load
from llmwright.models.adapters.attached import attached_to
from llmwright.models.adapters.base import Base, weights_sha256
from llmwright.models.adapters.put import merge
from llmwright.models.config import HubModel, ScratchModel
from llmwright.tasks.contract import Contract
from llmwright.tokenization import hub
from llmwright.training.adapters.config import AdapterKind

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True)
class AdapterRequest:
    """What an adapter is made from.

    Attributes:
        model: The model as it was built; an adapter of an earlier run may be on it.
        tokenizer: The model's.
        contract: The model's.
        objective: Name of what is minimised.
        spec: Where the model comes from.
        base: Returns what an adapter on the model would stand on; reads all of its weights.
        seed: Of random first values.
        notice: Receives sentences for the user.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    contract: Contract
    objective: str
    spec: Kind
    base: Callable[[], Base]
    seed: int
    notice: Callable[[str], None]


def refuse_early(adapter: AdapterKind, spec: Kind) -> None:
    """Raise for what can be known before any work.

    Raises:
        ConfigError: The adapter makes no sense on a new model (``TRAIN-100``).
        ResourceError: This machine lacks what it needs (``TRAIN-106``, ``TRAIN-107``).
    """
    if adapter.needs_finished and isinstance(spec, ScratchModel):
        raise ConfigError("TRAIN-100", adapter=adapter.kind)
    adapter.require()


def adapt(adapter: AdapterKind, request: AdapterRequest) -> PreTrainedModel:
    """Return the model with only those weights trainable that shall be, and say how many.

    Raises:
        ConfigError: Nothing would learn (``TRAIN-103``), or what the adapter's own `build` raises.
    """
    model: PreTrainedModel = adapter.build(request)
    weights = list(model.parameters())
    total = sum(weight.numel() for weight in weights)
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    if not learning:
        raise ConfigError("TRAIN-103", adapter=adapter.kind)
    # What a checkpoint may leave out: the next start reads it from the same files again.
    model.llmwright_rest_is_kept = attached_to(model) is not None or (
        adapter.kind != "full" and not isinstance(request.spec, ScratchModel)
    )
    if learning < total:
        share = f"{100 * learning / total:.2g}"
        sentence = text(
            "training.adapter_share",
            learning=f"{learning:,}",
            total=f"{total:,}",
            share=share,
        )
        request.notice(sentence)
    return model


def whole_model(request: AdapterRequest) -> PreTrainedModel:
    """Return the model without an adapter: one from an earlier run is merged, which is said."""
    model = request.model
    if attached_to(model) is not None:
        merge(model)
        request.notice(text("training.adapter_merged"))
    return model


def base_of(spec: Kind, inputs: Mapping[str, Artifact], root: Path) -> Base:
    """Return what an adapter on a model of this origin stands on.

    Args:
        spec: Where the model comes from; a hub id names its commit.
        inputs: ``model.name`` for the model of a step.
        root: Project folder.
    """
    if isinstance(spec, HubModel):
        folder = load.locate(spec.name, revision=spec.revision, root=root)
        local = hub.find_local(spec.name, root) is not None
        sha256 = weights_sha256(folder)
        return Base("folder" if local else "hub", spec.name, spec.revision, sha256)
    artifact = inputs["model.name"]
    sha256 = weights_sha256(artifact.path)
    stored = Store(artifact.path.parents[2]).folder(artifact.id)
    if stored is not None and stored.resolve() == artifact.path.resolve():
        return Base("artifact", artifact.id, None, sha256)
    return Base("folder", str(artifact.path), None, sha256)


def trainable_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return what a checkpoint must hold of a model, each weight under one name.

    Of an adapter, and of a finished model that learns in parts, only what learns: the rest is read
    again from where it came. Of any other model everything.
    """
    partly = getattr(model, "llmwright_rest_is_kept", False)
    weights = {n: w.detach() for n, w in model.named_parameters() if w.requires_grad or not partly}
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return weights | {n: value for n, value in model.state_dict().items() if n not in every}


@torch.no_grad()
def load_trainable(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> None:
    """Write what `trainable_state` returned back into a model.

    Raises:
        KeyError: Names are missing or unknown.
    """
    present = trainable_state(model)
    wrong = sorted(present.keys() ^ tensors.keys())
    if wrong:
        raise KeyError(", ".join(wrong[:3]))
    for name, value in present.items():
        value.copy_(tensors[name])
