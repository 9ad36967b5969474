"""Optimizers, and which weights are pulled to zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from llmwright.training.optimizers.config import SGD, Adafactor, Adagrad, Adam, AdamW, RMSprop

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Groups = list[dict[str, Any]]


def parameter_groups(model: nn.Module, weight_decay: float) -> Groups:
    """Return trainable weights in two groups: matrices, which decay, and biases and norms."""
    weights = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in weights if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]


def adamw(kind: AdamW, groups: Groups, lr: float) -> Optimizer:
    """Return AdamW, all weights in one fused call."""
    betas = (kind.beta1, kind.beta2)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=kind.eps, fused=True)


def adam(kind: Adam, groups: Groups, lr: float) -> Optimizer:
    """Return Adam, all weights in one fused call."""
    betas = (kind.beta1, kind.beta2)
    return torch.optim.Adam(groups, lr=lr, betas=betas, eps=kind.eps, fused=True)


def sgd(kind: SGD, groups: Groups, lr: float) -> Optimizer:
    """Return SGD, all weights in one fused call."""
    return torch.optim.SGD(
        groups, lr=lr, momentum=kind.momentum, nesterov=kind.nesterov, fused=True
    )


def rmsprop(kind: RMSprop, groups: Groups, lr: float) -> Optimizer:
    """Return RMSprop."""
    return torch.optim.RMSprop(
        groups, lr=lr, alpha=kind.alpha, momentum=kind.momentum, eps=kind.eps, foreach=True
    )


def adagrad(kind: Adagrad, groups: Groups, lr: float) -> Optimizer:
    """Return Adagrad."""
    return torch.optim.Adagrad(groups, lr=lr, eps=kind.eps, foreach=True)


def adafactor(kind: Adafactor, groups: Groups, lr: float) -> Optimizer:
    """Return Adafactor with the learning rate as given (no relative steps)."""
    return torch.optim.Adafactor(
        groups, lr=lr, beta2_decay=kind.beta2_decay, d=kind.clip_threshold, foreach=True
    )
