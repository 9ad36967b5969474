"""The adapter of a model: noted on it, written to a folder and read back, in PEFT's format.

A model keeps its class: an adapter's layers stand inside it. Modules that are trained whole
(a new head, a grown vocabulary) stay what they are too, and are written with the adapter as PEFT
writes its ``modules_to_save``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmwright.core import files
from llmwright.core.errors import InputError
from llmwright.models.adapters.base import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Base

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# How PEFT names its adapters inside a model, and a model's weights in a file.
NAME = "default"
PREFIX = "base_model.model."

Settings = dict[str, Any]
Factors = tuple[Tensor, Tensor]


@dataclass
class Attached:
    """An adapter on a model.

    Attributes:
        settings: What ``adapter_config.json`` holds.
        base: The weights below it; None until they are known.
        initial: Module → factors A and B it began with, where they were taken out of the weights
            below (PiSSA, OLoRA): the file's adapter stands on the whole weights again.
    """

    settings: Settings
    base: Base | None = None
    initial: dict[str, Factors] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """PEFT's name of its kind: ``LORA``, ``PROMPT_TUNING`` or ``PREFIX_TUNING``."""
        return str(self.settings["peft_type"])

    @property
    def whole(self) -> list[str]:
        """Names of the modules that are trained whole."""
        return list(self.settings.get("modules_to_save") or [])


def attached_to(model: PreTrainedModel) -> Attached | None:
    """Return the adapter of a model; None when it is a whole one."""
    found: Attached | None = getattr(model, "llmwright_adapter", None)
    return found


def note(model: PreTrainedModel, adapter: Attached | None) -> None:
    """Remember a model's adapter, or that it has none any more."""
    model.llmwright_adapter = adapter


def mark_trainable(model: PreTrainedModel) -> None:
    """Let the adapter and the modules trained whole learn, and nothing else."""
    own = set(own_weights(model))
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in own)


def own_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the weights that make up the adapter, by their names in the model."""
    adapter = attached_to(model)
    assert adapter is not None
    return {n: w for n, w in model.named_parameters() if is_own(n, adapter.whole)}


def is_own(name: str, whole: Sequence[str]) -> bool:
    """Say whether a weight belongs to an adapter."""
    inner = re.search(r"(^|\.)(lora_|virtual_tokens)", name)
    return inner is not None or name.startswith(tuple(f"{module}." for module in whole))


def file_name(name: str) -> str:
    """Return a weight's name in the adapter's file.

    >>> file_name("model.layers.0.q_proj.lora_A.default.weight")
    'base_model.model.model.layers.0.q_proj.lora_A.weight'
    """
    if name == "virtual_tokens":
        return "prompt_embeddings"
    name = re.sub(rf"\.lora_magnitude_vector\.{NAME}\.weight$", ".lora_magnitude_vector", name)
    return PREFIX + re.sub(rf"\.(lora_[AB])\.{NAME}\.", r".\1.", name)


def save(adapter: Attached, weights: dict[str, Tensor], folder: Path) -> None:
    """Write settings, weights and base into a folder.

    Args:
        adapter: What is on the model.
        weights: `own_weights` of the model, on the whole weights of the base.
        folder: Where to.
    """
    from safetensors.torch import save_file

    assert adapter.base is not None, "an adapter without base cannot be found again"
    tensors = {file_name(n): w.detach().cpu().contiguous() for n, w in weights.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    base = adapter.base
    where = {"base_model_name_or_path": base.name, "revision": base.revision}
    files.write_json(folder / ADAPTER_CONFIG, {**adapter.settings, **where})
    base.save(folder)


def read(folder: Path) -> tuple[Attached, dict[str, Tensor]]:
    """Return the adapter in a folder and its weights, by their names in the file.

    Raises:
        InputError: It is damaged (``MODEL-050``).
    """
    from safetensors.torch import load_file

    base = Base.open(folder)
    try:
        settings: Settings = files.read_json(folder / ADAPTER_CONFIG)
        tensors = load_file(folder / ADAPTER_WEIGHTS)
        adapter = Attached({str(k): v for k, v in settings.items()}, base)
        assert adapter.type
    except Exception as error:  # half a file makes JSON and safetensors raise their own classes
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError("MODEL-050", path=folder, reason=reason) from error
    return adapter, tensors


@torch.no_grad()
def fill(model: PreTrainedModel, tensors: dict[str, Tensor], folder: Path) -> set[str]:
    """Write an adapter's weights into the model that carries it; return the names of those filled.

    A module trained whole whose shape is another now, such as a head for other labels, stays new.

    Raises:
        InputError: The adapter does not fit the model (``MODEL-053``).
    """
    own = {file_name(name): (name, weight) for name, weight in own_weights(model).items()}
    adapter = attached_to(model)
    assert adapter is not None
    filled: set[str] = set()
    missing = sorted(set(own) ^ set(tensors))
    for key in own.keys() & tensors.keys():
        name, weight = own[key]
        if weight.shape == tensors[key].shape:
            weight.copy_(tensors[key])
            filled.add(name)
        elif not is_own(name, []):
            continue
        else:
            missing.append(key)
    if missing:
        raise InputError("MODEL-053", path=folder, keys=", ".join(missing[:3]))
    return filled
