"""Cross entropy over many classes without a float32 copy of all logits.

Shapes: N targets, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Logits in one part. On a processor 4 MB in float32: all passes over it find it in the cache. On a
# GPU 256 MB: each part costs the starting of a dozen kernels.
CHUNK_VALUES = {"cpu": 1 << 20, "cuda": 1 << 26}


def cross_entropies(
    logits_NC: Tensor, targets_N: Tensor, weights_C: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Return the cross entropy of each target in float32, in nats: losses_N.

    Args:
        logits_NC: In any float format.
        targets_N: Class indices, negative ones without a loss; or, as targets_NC, the
            probabilities that are to be matched.
        weights_C: Weight of each class; all 1 when None.
        smoothing: Share of probability spread over all classes.
    """
    if weights_C is not None or logits_NC.numel() <= CHUNK_VALUES[logits_NC.device.type]:
        if targets_N.is_floating_point():
            targets_N = targets_N.float()
        return functional.cross_entropy(
            logits_NC.float(), targets_N, weights_C, reduction="none", label_smoothing=smoothing
        )
    losses_N: Tensor = _Chunked.apply(logits_NC, targets_N, smoothing)
    return losses_N


class _Chunked(torch.autograd.Function):
    """Losses and gradients, computed for a few rows at a time; gradients have the logits' format.

    The gradient is made in the forward pass and given away in the backward pass, so that it is
    held once only: there can be one backward pass.
    """

    @staticmethod
    def forward(ctx: Any, logits_NC: Tensor, targets_N: Tensor, smoothing: float) -> Tensor:
        rows = max(1, CHUNK_VALUES[logits_NC.device.type] // logits_NC.shape[1])
        losses_N = torch.empty(len(targets_N), device=logits_NC.device)
        gradient_NC = torch.empty_like(logits_NC) if ctx.needs_input_grad[0] else None
        judge = _soft if targets_N.is_floating_point() else _hard
        for start in range(0, len(targets_N), rows):
            part = slice(start, start + rows)
            log_probs = functional.log_softmax(logits_NC[part].float(), dim=-1)
            losses_N[part], gradient = judge(log_probs, targets_N[part], smoothing)
            if gradient_NC is not None:
                gradient_NC[part] = gradient()
        ctx.gradient_NC = gradient_NC
        return losses_N

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gradient_NC, ctx.gradient_NC = ctx.gradient_NC, None
        return gradient_NC.mul_(outer[0][:, None]), None, None


def _hard(
    log_probs_NC: Tensor, targets_N: Tensor, smoothing: float
) -> tuple[Tensor, Callable[[], Tensor]]:
    """Return the losses of class indices, and what makes their gradient of the log-probabilities.

    The target is 1 - s + s / C at the class and s / C elsewhere; probabilities less that are the
    gradient.
    """
    counts_N = targets_N >= 0
    index_N1 = targets_N.clamp(min=0)[:, None]
    own_N = log_probs_NC.gather(1, index_N1)[:, 0]
    losses_N = -own_N * (1 - smoothing)
    if smoothing:
        losses_N -= smoothing * log_probs_NC.mean(dim=-1)

    def gradient() -> Tensor:
        made_NC = log_probs_NC.exp_()
        if smoothing:
            made_NC -= smoothing / made_NC.shape[1]
        less = made_NC.new_full((1, 1), smoothing - 1).expand_as(index_N1)
        return made_NC.scatter_add_(1, index_N1, less).mul_(counts_N[:, None])

    return losses_N * counts_N, gradient


def _soft(
    log_probs_NC: Tensor, targets_NC: Tensor, smoothing: float
) -> tuple[Tensor, Callable[[], Tensor]]:
    """Return the losses of probabilities to match, and what makes their gradient; as `_hard`."""
    wanted_NC = targets_NC.float()
    if smoothing:
        wanted_NC = wanted_NC * (1 - smoothing) + smoothing / wanted_NC.shape[1]
    losses_N = -(wanted_NC * log_probs_NC).sum(dim=-1)

    def gradient() -> Tensor:
        mass_N1 = wanted_NC.sum(dim=-1, keepdim=True)
        return log_probs_NC.exp_().mul_(mass_N1).sub_(wanted_NC)

    return losses_N, gradient
