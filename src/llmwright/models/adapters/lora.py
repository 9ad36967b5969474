"""Low-rank adapters inside a model, made by PEFT; with PiSSA, OLoRA and DoRA.

An adapted layer answers ``W x + s B A x`` (Hu et al. 2021); W stays. PiSSA and OLoRA begin with A
and B taken out of W, so that what stays is ``W - s B0 A0``. In the file such an adapter is a plain
one of twice the rank on the whole W: ``s (B A - B0 A0) = s [B, -B0] [A; A0]``.

Shapes: R rank, I inputs, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmwright.models.adapters.attached import (
    NAME,
    Attached,
    Settings,
    attached_to,
    mark_trainable,
    note,
    own_weights,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Ways to begin that take the adapter out of the weights.
TAKEN_OUT = ("pissa", "olora")
_TASK_TYPES = {
    "ForCausalLM": "CAUSAL_LM",
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}


def settings_for(
    model: PreTrainedModel, targets: Sequence[str], whole: Sequence[str], **values: Any
) -> Settings:
    """Return what ``adapter_config.json`` says of a LoRA adapter.

    Args:
        model: Whose class names the kind of task.
        targets: Names of the linear layers that are adapted.
        whole: Names of the modules that are trained whole.
        **values: ``r``, ``lora_alpha``, ``lora_dropout``, ``use_rslora``, ``use_dora``.
    """
    from transformers.pytorch_utils import Conv1D

    name = type(model).__name__
    task = next((kind for end, kind in _TASK_TYPES.items() if name.endswith(end)), None)
    transposed = any(isinstance(model.get_submodule(target), Conv1D) for target in targets)
    return {
        "peft_type": "LORA",
        "task_type": task,
        "target_modules": sorted(targets),
        "modules_to_save": sorted(whole) or None,
        "fan_in_fan_out": transposed,
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
        **values,
    }


def add_lora(model: PreTrainedModel, adapter: Attached, init: Any = True, seed: int = 0) -> None:
    """Put a LoRA adapter into a model, which keeps its class; only the adapter learns.

    Args:
        model: Gets it.
        adapter: Its settings.
        init: PEFT's name of the way to begin; True is A random, B zero: no change at first.
        seed: Of A's random values.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = (
        "r",
        "lora_alpha",
        "lora_dropout",
        "use_rslora",
        "use_dora",
        "target_modules",
        "fan_in_fan_out",
        "bias",
    )
    values = {name: adapter.settings[name] for name in names}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(**values, init_lora_weights=init), model, NAME)
    note(model, adapter)
    if init in TAKEN_OUT:
        adapter.initial = {name: factors_of(part) for name, part in adapted_layers(model)}
    mark_trainable(model)


def adapted_layers(model: PreTrainedModel) -> list[tuple[str, Any]]:
    """Return name and layer of each layer with a LoRA adapter."""
    from peft.tuners.lora import LoraLayer

    return [(n, part) for n, part in model.named_modules() if isinstance(part, LoraLayer)]


def factors_of(layer: Any) -> tuple[Tensor, Tensor]:
    """Return copies of A_RI and B_OR of an adapted layer."""
    return (
        layer.lora_A[NAME].weight.detach().clone().cpu(),
        layer.lora_B[NAME].weight.detach().clone().cpu(),
    )


def on_whole_base(model: PreTrainedModel) -> tuple[Attached, dict[str, Tensor]]:
    """Return a LoRA adapter and its weights as they stand on the whole weights of the base."""
    adapter = attached_to(model)
    assert adapter is not None
    weights = own_weights(model)
    if not adapter.initial:
        return adapter, weights
    for name, (initial_A_RI, initial_B_OR) in adapter.initial.items():
        key_A, key_B = (f"{name}.lora_{factor}.{NAME}.weight" for factor in "AB")
        weights[key_A] = torch.cat([weights[key_A].detach().cpu(), initial_A_RI])
        weights[key_B] = torch.cat([weights[key_B].detach().cpu(), -initial_B_OR], dim=1)
    # The factor s must stay what it is: alpha / rank, or alpha / sqrt(rank).
    growth = math.sqrt(2) if adapter.settings["use_rslora"] else 2
    doubled = {
        "r": 2 * adapter.settings["r"],
        "lora_alpha": growth * adapter.settings["lora_alpha"],
    }
    return Attached({**adapter.settings, **doubled}, adapter.base), weights


def merge_lora(model: PreTrainedModel) -> int:
    """Add the adapter to the weights and remove it: the model is a plain one again, in place.

    Returns:
        How many layers changed by that.
    """
    changed = 0
    for name, layer in adapted_layers(model):
        before = layer.get_base_layer().weight.detach().clone()
        layer.merge(safe_merge=True)
        changed += int(not torch.equal(before, layer.get_base_layer().weight))
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    note(model, None)
    model.requires_grad_(True)
    return changed
