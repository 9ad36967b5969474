"""The 4-bit format nf4 in plain torch: what a weight is worth after it was stored so.

Each block of 64 numbers is divided by its largest absolute value and rounded to the nearest of 16
quantiles of a normal distribution (Dettmers et al. 2023, QLoRA, appendix E). bitsandbytes stores
these 4 bits on a GPU; with this, every machine reads a QLoRA adapter on the very same base.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 64
LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


def rounded(weight: Tensor) -> Tensor:
    """Return a weight as it is after it was stored as nf4, in its own shape and dtype."""
    flat = weight.detach().float().flatten()
    blocks = functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    largest = blocks.abs().amax(dim=1, keepdim=True)
    levels = torch.tensor(LEVELS, device=weight.device)
    borders = (levels[1:] + levels[:-1]) / 2
    # 1 / largest, then times, as bitsandbytes calculates.
    scaled = blocks * (1 / largest.clamp_min(torch.finfo(torch.float32).tiny))
    near = levels[torch.bucketize(scaled, borders)] * largest
    return near.flatten()[: len(flat)].view_as(weight).to(weight.dtype)
