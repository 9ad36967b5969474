"""Quick dropout: as often, as large and as repeatable as torch's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from llmwright.training.acceleration.dropout import (
    MIN_VALUES,
    QuickDropout,
    quick_dropout,
    use_quick_dropout,
)

CPU = SimpleNamespace(device=torch.device("cpu"))
SHAPE = (4, MIN_VALUES // 2 + 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_it_drops_and_scales_as_torch_does(dtype: torch.dtype, probability: float) -> None:
    torch.manual_seed(1)
    values = torch.full(SHAPE, 3.0, dtype=dtype, requires_grad=True)
    found = quick_dropout(values, probability)
    expected = nn.functional.dropout(values, probability)
    share = float((found == 0).float().mean())
    # Five standard deviations of a binomial share.
    assert abs(share - probability) < 5 * (probability * (1 - probability) / found.numel()) ** 0.5
    assert found.detach().unique().tolist() == expected.detach().unique().tolist()
    found.sum().backward()
    assert torch.equal(values.grad == 0, found == 0)
    assert values.grad.unique().tolist() == (found.detach().unique() / 3).tolist()


def test_it_depends_on_torchs_state_alone() -> None:
    def drawn() -> torch.Tensor:
        return quick_dropout(torch.ones(SHAPE), 0.5)

    torch.manual_seed(7)
    first = drawn()
    state = torch.get_rng_state()
    second = drawn()
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(drawn(), second)
    # Neighbours are independent: as often both as chance says.
    both = float((second.flatten()[1:] * second.flatten()[:-1] > 0).float().mean())
    assert abs(both - 0.25) < 0.02


def test_only_torchs_own_dropout_is_replaced() -> None:
    class Other(nn.Dropout):
        pass

    model = nn.Sequential(
        nn.Dropout(0.3), nn.Dropout(0.3, inplace=True), Other(0.3), nn.Linear(2, 2)
    )
    names = list(model.state_dict())
    assert not use_quick_dropout(model, SimpleNamespace(device=torch.device("cuda")))
    assert type(model[0]) is nn.Dropout
    assert use_quick_dropout(model, CPU)
    assert not use_quick_dropout(nn.Sequential(nn.Dropout(0.0)), CPU)
    assert [type(part) for part in model] == [QuickDropout, nn.Dropout, Other, nn.Linear]
    assert list(model.state_dict()) == names
    values = torch.ones(SHAPE)
    assert torch.equal(model[0].eval()(values), values)
    assert not torch.equal(model[0].train()(values), values)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_what_is_certain_is_left_to_torch(probability: float) -> None:
    assert quick_dropout(torch.ones(SHAPE), probability).unique().tolist() == [1 - probability]
