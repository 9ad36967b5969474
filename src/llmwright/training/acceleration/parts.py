"""What makes a run faster or smaller where it can be used; each choice is said, with its reason."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from llmwright.core.errors import ConfigError, ResourceError
from llmwright.core.locale import text
from llmwright.models.adapters.virtual import has_prefix, num_virtual_tokens
from llmwright.training.config import Switch
from llmwright.training.objectives.trials import keeps_apart

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Notice = Callable[[str], None]


def choose_packing(
    wanted: Switch, objective: str, model: PreTrainedModel, device: torch.device, notice: Notice
) -> bool:
    """Say whether rows are joined without padding, told apart by their positions.

    Args:
        wanted: What the user says.
        objective: Name of the objective.
        model: On its device.
        device: Where it is.
        notice: Receives a sentence.

    Raises:
        ConfigError: It is asked for, and the objective does not predict each next token
            (``TRAIN-030``) or the model does not keep joined rows apart (``TRAIN-031``).
    """
    if wanted is True:
        if objective != "causal_lm":
            raise ConfigError("TRAIN-030", objective=objective)
        if not keeps_apart(model):
            raise ConfigError("TRAIN-031", model=type(model).__name__)
        notice(text("training.packing_on"))
        return True
    # Only the first of joined rows would have the virtual tokens before it.
    if wanted is False or objective != "causal_lm" or num_virtual_tokens(model):
        return False
    if device.type == "cpu" or not has_variable_length_attention():
        notice(text(f"training.packing_{'cpu' if device.type == 'cpu' else 'missing'}"))
        return False
    # Its kernels take bf16 only, so that our trial in float32 cannot be made here.
    model.set_attn_implementation("flash_attention_2")
    notice(text("training.packing_on"))
    return True


def has_variable_length_attention() -> bool:
    """Say whether transformers can use attention that needs no mask for joined rows."""
    from transformers.utils.import_utils import is_flash_attn_2_available

    return bool(is_flash_attn_2_available())


def can_checkpoint(model: PreTrainedModel) -> bool:
    """Say whether `use_checkpointing` knows how."""
    return bool(model.supports_gradient_checkpointing) and not has_prefix(model)


def use_checkpointing(model: PreTrainedModel) -> None:
    """Keep few activations: the others are computed a second time in the backward pass.

    Raises:
        ConfigError: The model cannot (``TRAIN-032``), or has a learned prefix, which transformers
            leaves out then (``TRAIN-111``).
    """
    if has_prefix(model):
        raise ConfigError("TRAIN-111")
    if not model.supports_gradient_checkpointing:
        raise ConfigError("TRAIN-032", model=type(model).__name__)
    model.activation_checkpointing_enable()


def use_kernels(
    wanted: Switch, model: PreTrainedModel, device: torch.device, notice: Notice
) -> None:
    """Put fused kernels (Liger) in the place of a model's parts.

    Raises:
        ResourceError: They are asked for, and there is no GPU or no package (``TRAIN-033``).
    """
    installed = importlib.util.find_spec("liger_kernel") is not None
    if wanted is False:
        return
    if device.type != "cuda" or not installed:
        if wanted is True:
            raise ResourceError("TRAIN-033", device=str(device))
        notice(text(f"training.kernels_{'missing' if device.type == 'cuda' else 'elsewhere'}"))
        return
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    # Without its own loss: ours takes what it needs of the hidden states itself.
    _apply_liger_kernel_to_instance(
        model=model, fused_linear_cross_entropy=False, cross_entropy=False
    )
    notice(text("training.kernels_on"))


def use_tf32(precision: str, device: torch.device, notice: Notice) -> None:
    """Let a GPU round the factors of float32 products to TF32, unless float32 was asked for."""
    if device.type != "cuda":
        return
    exact = precision == "float32"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    notice(text(f"training.tf32_{'off' if exact else 'on'}"))
