"""nf4 in plain torch: the values that bitsandbytes stores."""

from __future__ import annotations

import pytest
import torch

from llmwright.models.adapters.nf4 import LEVELS, rounded


def test_each_value_becomes_the_nearest_level_of_its_block() -> None:
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    found = rounded(weight)
    largest = weight.abs().amax(dim=1, keepdim=True)
    levels = torch.tensor(LEVELS)
    distances = (weight / largest)[..., None] - levels
    nearest = levels[distances.abs().argmin(dim=-1)] * largest
    torch.testing.assert_close(found, nearest, rtol=0, atol=1e-7)


def test_rounding_twice_changes_nothing_and_zeros_stay() -> None:
    weight = torch.cat([torch.randn(3, 33), torch.zeros(2, 33)])
    once = rounded(weight)
    assert torch.equal(rounded(once), once)
    assert torch.equal(once[-1], torch.zeros(33))
    assert once.shape == weight.shape


def test_it_is_what_bitsandbytes_stores() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = torch.randn(64, 128) * 0.05
    stored, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=False)
    codes = torch.stack([stored.flatten() >> 4, stored.flatten() & 15], dim=1).flatten().long()
    values = state.code[codes] * state.absmax.repeat_interleave(64)
    assert torch.equal(values.view_as(weight), rounded(weight))
