"""How large a model is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Size:
    """Figures about a model's weights.

    Attributes:
        num_parameters: Numbers in all weights, shared ones counted once.
        num_trainable: Those of them that training changes.
        size_bytes: Memory they take.
    """

    num_parameters: int
    num_trainable: int
    size_bytes: int


def measure(model: torch.nn.Module) -> Size:
    """Return how large a model's weights are; a weight used in two places counts once."""
    weights = list(model.parameters())
    return Size(
        num_parameters=sum(weight.numel() for weight in weights),
        num_trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
        size_bytes=sum(weight.numel() * weight.element_size() for weight in weights),
    )


def described_count(count: int) -> str:
    """Return a number of parameters in full, and in short where it is long.

    >>> described_count(824_960), described_count(8_496)
    ('824,960 (0.82M)', '8,496')
    """
    short = short_count(count)
    return f"{count:,}" if short == str(count) else f"{count:,} ({short})"


def short_count(count: int) -> str:
    """Return a number of parameters as people write it.

    >>> short_count(824_960)
    '0.82M'
    """
    for limit, divisor, unit in ((10**5, 1, ""), (10**9, 10**6, "M"), (10**12, 10**9, "B")):
        if count < limit:
            return f"{count / divisor:.2f}{unit}" if unit else str(count)
    return f"{count / 10**12:.2f}T"
