"""Optimizers, and which weights are pulled to zero."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from llmwright.core.errors import ConfigError, ResourceError, closest
from llmwright.models.adapters import parts
from llmwright.training.adapters.config import AdapterKind
from llmwright.training.optimizers.config import (
    SGD,
    Adafactor,
    Adagrad,
    Adam,
    AdamW,
    AdamW8bit,
    RMSprop,
)
from llmwright.training.runtimes.states import are_spread

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

Groups = list[dict[str, Any]]


def parameter_groups(
    model: nn.Module, weight_decay: float, factor_of: Callable[[str], float] = lambda name: 1.0
) -> Groups:
    """Return trainable weights in groups, those with the full learning rate first.

    Matrices decay, biases and norms do not; a group's ``lr_factor`` is what the learning rate of
    each step is multiplied with.

    Args:
        model: Whose weights.
        weight_decay: Of matrices.
        factor_of: Returns the factor of a weight by its name.
    """
    found: dict[tuple[float, bool], list[Any]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            found.setdefault((factor_of(name), weight.ndim >= 2), []).append(weight)
    order = sorted(found, key=lambda key: (key[0] != 1.0, key[0], not key[1]))
    return [
        {
            "params": found[factor, decays],
            "weight_decay": weight_decay if decays else 0.0,
            "lr_factor": factor,
        }
        for factor, decays in order
    ]


def lr_factors(
    model: PreTrainedModel, wanted: Mapping[str, float], adapter: AdapterKind
) -> Callable[[str], float]:
    """Return what gives the learning-rate factor of a weight by its name.

    Args:
        model: Ready to be trained.
        wanted: Pattern of names → factor; ``embeddings`` stands for the token embeddings.
        adapter: Has factors of its own.

    Raises:
        ConfigError: A pattern fits no weight that learns (``TRAIN-109``).
    """
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    found = {name: adapter.lr_factor(name) for name in names}
    for pattern, factor in wanted.items():
        if pattern == "embeddings":
            modules = parts.holders(model, parts.embeddings(model))
            fitting = [n for n in names if n.rpartition(".")[0] in modules]
        else:
            fitting = parts.matching([pattern], names)
        if not fitting:
            hint = closest(pattern, parts.short_names([n.rpartition(".")[0] for n in names]))
            raise ConfigError("TRAIN-109", where="train.lr_factors", pattern=pattern, hint=hint)
        found.update({name: found[name] * factor for name in fitting})
    return found.__getitem__


def adamw(kind: AdamW, groups: Groups, lr: float) -> Optimizer:
    """Return AdamW, all weights in one fused call."""
    betas = (kind.beta1, kind.beta2)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=kind.eps, fused=True)


def adamw_8bit(kind: AdamW8bit, groups: Groups, lr: float) -> Optimizer:
    """Return AdamW with its state in 8 bits.

    Raises:
        ConfigError: Weights are spread over processes (``TRAIN-126``).
        ResourceError: There is no GPU or bitsandbytes is not installed (``TRAIN-034``).
    """
    if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
        raise ResourceError("TRAIN-034")
    refuse_spread(kind.kind, groups)
    from bitsandbytes.optim import AdamW8bit as Optimizer8bit

    betas = (kind.beta1, kind.beta2)
    made: Optimizer = Optimizer8bit(groups, lr=lr, betas=betas, eps=kind.eps)
    return made


def adam(kind: Adam, groups: Groups, lr: float) -> Optimizer:
    """Return Adam, all weights in one fused call."""
    betas = (kind.beta1, kind.beta2)
    return torch.optim.Adam(groups, lr=lr, betas=betas, eps=kind.eps, fused=True)


def sgd(kind: SGD, groups: Groups, lr: float) -> Optimizer:
    """Return SGD, all weights in one fused call; torch has none for weights that are spread."""
    fused = not are_spread(groups)
    return torch.optim.SGD(
        groups,
        lr=lr,
        momentum=kind.momentum,
        nesterov=kind.nesterov,
        fused=fused,
        foreach=not fused,
    )


def rmsprop(kind: RMSprop, groups: Groups, lr: float) -> Optimizer:
    """Return RMSprop."""
    return torch.optim.RMSprop(
        groups, lr=lr, alpha=kind.alpha, momentum=kind.momentum, eps=kind.eps, foreach=True
    )


def adagrad(kind: Adagrad, groups: Groups, lr: float) -> Optimizer:
    """Return Adagrad."""
    return torch.optim.Adagrad(groups, lr=lr, eps=kind.eps, foreach=True)


def refuse_spread(optimizer: str, groups: Groups) -> None:
    """Refuse weights that are spread over processes, for an optimizer that needs each in one piece.

    Raises:
        ConfigError: They are (``TRAIN-126``).
    """
    if are_spread(groups):
        raise ConfigError("TRAIN-126", optimizer=optimizer)


def adafactor(kind: Adafactor, groups: Groups, lr: float) -> Optimizer:
    """Return Adafactor with the learning rate as given (no relative steps).

    Raises:
        ConfigError: Weights are spread over processes (``TRAIN-126``).
    """
    refuse_spread(kind.kind, groups)
    return torch.optim.Adafactor(
        groups, lr=lr, beta2_decay=kind.beta2_decay, d=kind.clip_threshold, foreach=True
    )
