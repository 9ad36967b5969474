"""Cross entropy over many classes without a float32 copy of all logits.

Shapes: N targets, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Below this many logits (64 MB in float32) one plain call is quickest.
PLAIN_VALUES = 1 << 24
CHUNK_VALUES = 1 << 22


def cross_entropies(
    logits_NC: Tensor, targets_N: Tensor, weights_C: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Return the cross entropy of each target in float32, in nats: losses_N.

    Args:
        logits_NC: In any float format.
        targets_N: Class indices; or, as targets_NC, the probabilities that are to be matched.
        weights_C: Weight of each class; all 1 when None.
        smoothing: Share of probability spread over all classes.
    """
    if logits_NC.numel() <= PLAIN_VALUES:
        return _plain(logits_NC.float(), targets_N, weights_C, smoothing)
    losses_N: Tensor = _Chunked.apply(logits_NC, targets_N, weights_C, smoothing)
    return losses_N


def _plain(
    logits_NC: Tensor, targets_N: Tensor, weights_C: Tensor | None, smoothing: float
) -> Tensor:
    if targets_N.is_floating_point():
        targets_N = targets_N.float()
    return functional.cross_entropy(
        logits_NC, targets_N, weights_C, reduction="none", label_smoothing=smoothing
    )


class _Chunked(torch.autograd.Function):
    """Losses and gradients, computed for a few rows at a time; gradients have the logits' format.

    The gradient is made in the forward pass and given away in the backward pass, so that it is
    held once only: there can be one backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, logits_NC: Tensor, targets_N: Tensor, weights_C: Tensor | None, smoothing: float
    ) -> Tensor:
        rows = max(1, CHUNK_VALUES // logits_NC.shape[1])
        losses_N = torch.empty(len(targets_N), device=logits_NC.device)
        wanted = ctx.needs_input_grad[0]
        gradient_NC = torch.empty_like(logits_NC) if wanted else None
        for start in range(0, len(targets_N), rows):
            part = slice(start, start + rows)
            with torch.enable_grad():
                chunk = logits_NC[part].detach().float().requires_grad_(wanted)
                losses = _plain(chunk, targets_N[part], weights_C, smoothing)
                summed = losses.sum()
            losses_N[part] = losses.detach()
            if gradient_NC is not None:
                gradient_NC[part] = torch.autograd.grad(summed, chunk)[0]
        ctx.gradient_NC = gradient_NC
        return losses_N

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gradient_NC, ctx.gradient_NC = ctx.gradient_NC, None
        return gradient_NC.mul_(outer[0][:, None]), None, None, None
