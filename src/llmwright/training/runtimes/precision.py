"""Number format of the calculations: where bf16 is there, and where it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from llmwright.core.errors import ConfigError
from llmwright.core.hardware import hardware
from llmwright.core.locale import text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Precision = Literal["float32", "bf16"]

# Measured on two cores with AVX-512 BF16: smaller models spend their time elsewhere. Recurrent ones
# gain some 15 %, which is not worth rounding a state that is carried through a whole text.
MIN_PARAMETERS = 400_000


def choose_precision(
    wanted: Literal["auto", "float32", "bf16"], model: PreTrainedModel, device: torch.device
) -> tuple[Precision, str]:
    """Return the format and a sentence that says why.

    Raises:
        ConfigError: bf16 is asked for, but this hardware does not have it (``TRAIN-007``).
    """
    able = has_bf16(device)
    if wanted == "bf16" and not able:
        raise ConfigError("TRAIN-007", device=str(device))
    if wanted != "auto":
        return wanted, text("training.precision_asked", precision=wanted)
    if not able:
        return "float32", text("training.precision_missing", device=str(device))
    if device.type == "cpu" and not _pays_on_cpu(model):
        return "float32", text("training.precision_useless")
    return "bf16", text("training.precision_bf16")


def has_bf16(device: torch.device) -> bool:
    """Say whether a device calculates in bf16 at full speed."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return hardware().bf16


def _pays_on_cpu(model: PreTrainedModel) -> bool:
    """Say whether the time is spent in large matrix products, not in many small ones."""
    recurrent = any(isinstance(module, torch.nn.RNNBase) for module in model.modules())
    return not recurrent and model.num_parameters() >= MIN_PARAMETERS
