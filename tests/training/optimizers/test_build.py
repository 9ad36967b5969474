"""Every optimizer changes the weights its own way; biases and norms never decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from llmwright.training.optimizers.build import parameter_groups
from llmwright.training.optimizers.config import OPTIMIZERS


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))


REFERENCES = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01, weight_decay=0),
}


def three_steps(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    for _ in range(3):
        loss = network(torch.tensor([1, 2, 3])).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [weight.detach() for weight in network.parameters()]


# The 8-bit one needs a GPU; that it is refused without one is tested beside the other GPU options.
@pytest.mark.parametrize("name", [n for n in OPTIMIZERS.names() if n != "adamw_8bit"])
def test_optimizer_does_what_its_name_says(name) -> None:
    ours, reference = model(), model()
    kind = OPTIMIZERS.get(name).model_validate({})
    got = three_steps(ours, kind.build(parameter_groups(ours, 0.0), 0.01))
    want = three_steps(reference, REFERENCES[name](reference.parameters()))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(got, model().parameters(), strict=True))


def test_options_take_effect() -> None:
    kind = OPTIMIZERS.get("sgd").model_validate({"momentum": 0.0})
    ours, reference = model(), model()
    got = three_steps(ours, kind.build(parameter_groups(ours, 0.0), 0.01))
    want = three_steps(reference, torch.optim.SGD(reference.parameters(), lr=0.01))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_only_matrices_decay() -> None:
    network = model()
    kind = OPTIMIZERS.get("adamw").model_validate({})
    optimizer = kind.build(parameter_groups(network, 0.5), 0.1)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for name, weight in network.named_parameters():
        factor = 1 - 0.1 * 0.5 if weight.ndim == 2 else 1.0
        torch.testing.assert_close(weight.detach(), before[name] * factor)


def test_frozen_weights_are_left_out() -> None:
    network = model()
    network[0].requires_grad_(False)
    groups = parameter_groups(network, 0.1)
    assert sum(len(group["params"]) for group in groups) == 4


def test_factors_make_groups_of_their_own_the_full_rate_first() -> None:
    network = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    groups = parameter_groups(network, 0.1, lambda name: 16.0 if name.startswith("b.") else 1.0)
    shown = [(g["lr_factor"], g["weight_decay"], len(g["params"])) for g in groups]
    assert shown == [(1.0, 0.1, 1), (1.0, 0.0, 1), (16.0, 0.1, 1), (16.0, 0.0, 1)]
