"""QLoRA: LoRA over layers stored in 4 bits, on a GPU (Dettmers et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import util
from typing import TYPE_CHECKING, Any

import torch

from llmwright.core.errors import ResourceError
from llmwright.core.locale import text
from llmwright.models.adapters import parts
from llmwright.models.adapters.attached import attached_to, is_own, own_weights
from llmwright.models.adapters.lora import adapted_layers, add_lora
from llmwright.training.adapters.adapter import AdapterRequest
from llmwright.training.adapters.config import QloraAdapter
from llmwright.training.adapters.lora import new_adapter, refuse_other, say

if TYPE_CHECKING:
    from transformers import PreTrainedModel


DEVICE = "cuda"


def require() -> None:
    """Raise where 4-bit layers cannot be trained.

    Raises:
        ResourceError: No GPU (``TRAIN-106``) or no bitsandbytes (``TRAIN-107``).
    """
    if not torch.cuda.is_available():
        raise ResourceError("TRAIN-106")
    if util.find_spec("bitsandbytes") is None:
        raise ResourceError("TRAIN-107")


def build(adapter: QloraAdapter, request: AdapterRequest) -> PreTrainedModel:
    """Return the model on the GPU, its blocks in nf4, with a LoRA adapter inside.

    Raises:
        ConfigError: As `lora.build`.
    """
    model = request.model
    attached = attached_to(model)
    weights: dict[str, torch.Tensor] = {}
    if attached is not None:
        refuse_other(adapter, attached)
        weights = {name: weight.detach().clone() for name, weight in own_weights(model).items()}
        for name, layer in adapted_layers(model):
            replace_part(model, name, layer.get_base_layer())
        del model.peft_config
        request.notice(text("training.adapter_goes_on"))
    else:
        base = request.base()
        attached = new_adapter(adapter, model, base.rounded_to("nf4"))
    store_in_4_bits(model, attached.whole)
    model.to(DEVICE)
    # By this PEFT knows which layers it finds.
    model.is_loaded_in_4bit = True
    add_lora(model, attached, True, request.seed)
    del model.is_loaded_in_4bit
    with torch.no_grad():
        for name, weight in own_weights(model).items():
            if name in weights:
                weight.copy_(weights[name])
    say(adapter, attached, request)
    return model


def store_in_4_bits(model: PreTrainedModel, whole: Sequence[str]) -> None:
    """Replace the linear layers of the stacks by 4-bit ones; moving to the GPU rounds them.

    Args:
        model: On the processor.
        whole: Names of modules that are trained whole: they stay what they are.
    """
    import bitsandbytes

    for name in parts.linear_layers_of_stacks(model):
        if is_own(f"{name}.weight", whole):
            continue
        layer: Any = model.get_submodule(name)
        stored = bitsandbytes.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=torch.bfloat16,
            compress_statistics=False,
            quant_type="nf4",
        )
        stored.weight = bitsandbytes.nn.Params4bit(
            layer.weight.data,
            requires_grad=False,
            compress_statistics=False,
            quant_type="nf4",
            module=stored,
        )
        stored.bias = layer.bias
        replace_part(model, name, stored)


def replace_part(model: PreTrainedModel, name: str, part: torch.nn.Module) -> None:
    """Put another module in the place of one."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, part)
