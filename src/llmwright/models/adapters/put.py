"""An adapter onto a model, of whatever kind it is; and off again, its effect in the weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from llmwright.core.errors import InputError
from llmwright.models.adapters.attached import Attached, attached_to, own_weights, save
from llmwright.models.adapters.lora import add_lora, merge_lora, on_whole_base
from llmwright.models.adapters.nf4 import rounded
from llmwright.models.adapters.parts import linear_layers_of_stacks
from llmwright.models.adapters.virtual import add_virtual_tokens, plain_class

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def put_on(model: PreTrainedModel, adapter: Attached) -> None:
    """Put an adapter onto the model that its base is; its weights are still to be filled in.

    Raises:
        ConfigError, InputError: The model cannot carry it (``MODEL-053``, ``MODEL-054``).
    """
    if adapter.type != "LORA":
        add_virtual_tokens(model, adapter)
        return
    if adapter.base is not None and adapter.base.number_format == "nf4":
        round_to_nf4(model)
    try:
        add_lora(model, adapter)
    except ValueError as error:  # PEFT finds none of the layers
        name = type(model).__name__
        raise InputError("MODEL-053", path=name, keys=str(error)[:200]) from error


@torch.no_grad()
def round_to_nf4(model: PreTrainedModel) -> None:
    """Give the linear layers of the stacks the values they have as nf4, in place."""
    for name in linear_layers_of_stacks(model):
        weight = model.get_submodule(name).weight
        weight.copy_(rounded(weight))


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's adapter, its base and the model's configuration into a folder.

    Args:
        model: With an adapter whose base is known.
        folder: Where to.
    """
    adapter = attached_to(model)
    assert adapter is not None
    weights = own_weights(model)
    if adapter.type == "LORA":
        adapter, weights = on_whole_base(model)
    save(adapter, weights, folder)
    config = copy.deepcopy(model.config)
    config.architectures = [plain_class(model).__name__]
    config.save_pretrained(folder)
    generation = getattr(model, "generation_config", None)
    if generation is not None and model.can_generate():
        generation.save_pretrained(folder)


def merge(model: PreTrainedModel) -> int:
    """Work an adapter into the weights, in place: the model answers alike and is a plain one.

    Returns:
        How many adapted layers are not the base's any more.

    Raises:
        InputError: There is none (``MODEL-055``), or it changes no weights (``MODEL-056``).
    """
    adapter = attached_to(model)
    if adapter is None:
        raise InputError("MODEL-055", model=type(model).__name__)
    if adapter.type != "LORA":
        raise InputError("MODEL-056", kind=adapter.type.lower().replace("_", " "))
    return merge_lora(model)
