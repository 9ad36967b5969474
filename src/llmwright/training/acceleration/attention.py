"""Attention of short rows in bf16 on a processor: plain matrix products, several times as quick.

torch's fused attention saves memory, but its backward pass in bf16 multiplies with slow kernels on
processors: 12 to 33 ms a layer where plain products take 2 to 5 (2,048 tokens, two cores).

Shapes: B rows, H heads, T queries, S keys, D size of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from llmwright.training.acceleration.dropout import quick_dropout

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmwright.training.runtimes.runtime import Runtime

NAME = "plain_while_short"
# From here on the fused kernel is as quick, and its memory does not grow with the square.
LONGEST = 512


def use_plain_attention(model: PreTrainedModel, runtime: Runtime) -> bool:
    """Let a model on a processor learn with plain attention; say whether it does.

    Only models whose attention is torch's fused one are changed; what they answer without
    gradients is calculated as before.
    """
    fused = getattr(model.config, "_attn_implementation", None) == "sdpa"
    if not fused or runtime.device.type != "cpu" or runtime.precision != "bf16":
        return False
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    return bool(model.config._attn_implementation == NAME)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return attention of query_BHTD to key_BHSD and value_BHSD, (B, T, H, D), and no weights.

    Args:
        module: Whose attention it is.
        query: Of each token.
        key: Of each token that may be looked at.
        value: Likewise.
        attention_mask: (B, 1, T, S), true where a query may look; or what is added to the scores.
        dropout: Share of weights left out.
        scaling: Factor of the scores; D ** -0.5 when None.
        is_causal: Whether queries look back only, where no mask says so; the module's when None.
        others: For torch's attention.
    """
    num_queries, num_keys = query.shape[2], key.shape[2]
    learns = torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
    if (
        not learns
        or num_keys > LONGEST
        or num_queries == 1
        or others.get("position_bias") is not None
    ):
        fused: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **others
        )
        return fused
    query, key, value = (each.to(torch.bfloat16) for each in (query, key, value))
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    looks_back = getattr(module, "is_causal", True) if is_causal is None else is_causal
    scores_BHTS = torch.matmul(query * scale, key.transpose(2, 3))
    lowest = torch.finfo(query.dtype).min
    if attention_mask is None:
        if looks_back:
            ahead = torch.ones(num_queries, num_keys, dtype=torch.bool).triu_(1)
            scores_BHTS = scores_BHTS.masked_fill(ahead, lowest)
    elif attention_mask.dtype == torch.bool:
        scores_BHTS = scores_BHTS.masked_fill(~attention_mask, lowest)
    else:
        scores_BHTS = scores_BHTS + attention_mask
    weights_BHTS = quick_dropout(functional.softmax(scores_BHTS, dim=-1), dropout)
    return torch.matmul(weights_BHTS, value).transpose(1, 2).contiguous(), None
