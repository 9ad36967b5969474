"""Dropout on a processor with a quicker source of chance than torch's.

torch draws each of its 0/1 values alone and in one thread, 5 ns each: a seventh of the time of a
small encoder. Here 16 bits of numpy's SFC64 decide, whose seed torch draws: so runs still depend on
torch's seed and state alone, and resume exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmwright.training.runtimes.runtime import Runtime

LEVELS = 1 << 16
# Fewer values take less time than a source of their own.
MIN_VALUES = 1 << 14
INTEGERS = {torch.bfloat16: np.int16, torch.float32: np.int32}


class QuickDropout(nn.Dropout):
    """torch's dropout, but for where its chance comes from."""

    def forward(self, values: Tensor) -> Tensor:
        """Return values, some of them 0 and the others larger; as they are in evaluation."""
        return quick_dropout(values, self.p, self.training)


def use_quick_dropout(model: PreTrainedModel, runtime: Runtime) -> bool:
    """Let a model on a processor draw its dropout quickly; say whether it drops anything out."""
    if runtime.device.type != "cpu":
        return False
    found = False
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = QuickDropout
            found = found or module.p > 0
    return found


def quick_dropout(values: Tensor, probability: float, training: bool = True) -> Tensor:
    """Return values, each 0 with a probability and else scaled so that the mean stays.

    Args:
        values: Of any shape.
        probability: 0 to 1; kept to 1 / 65,536.
        training: Nothing is changed without.
    """
    usual = type(values) is not Tensor or values.device.type != "cpu"
    few = values.numel() < MIN_VALUES or values.dtype not in INTEGERS
    certain = not training or not 0 < probability < 1
    if usual or few or certain or torch.compiler.is_compiling():
        return functional.dropout(values, probability, training)
    seed = int(torch.randint(1 << 62, ()))
    # Each number of 64 bits decides on four values.
    drawn = np.random.SFC64(seed).random_raw(-(-values.numel() // 4)).view(np.uint16)
    kept = drawn[: values.numel()] >= round(probability * LEVELS)
    # Factors are made as integers with the same bits, which is quicker than turning truth values
    # into numbers.
    factors = kept.astype(INTEGERS[values.dtype])
    factors *= _bits(1 / (1 - probability), values.dtype)
    return values * torch.from_numpy(factors).view(values.dtype).view(values.shape)


def _bits(number: float, dtype: torch.dtype) -> int:
    """Return the bits of a float as an integer of its size."""
    bits = int(np.float32(number).view(np.int32))
    # bf16 is the first half, rounded to the nearest, in doubt to the even one.
    return bits if dtype == torch.float32 else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
