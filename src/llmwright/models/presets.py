"""Sizes of models made from scratch: a preset with every dimension, and what replaces it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmwright.core.errors import ConfigError
from llmwright.models.config import ScratchModel

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Each feed-forward layer is this many times as wide as the model.
FEED_FORWARD_FACTOR = 4
# Up to these sizes the plain matrix products of "eager" beat the fused kernel on a CPU. Their
# scores grow with the square of the context: 32 rows of 8 heads take 67 MB per layer at 256 tokens.
MAX_EAGER_HIDDEN_SIZE = 256
MAX_EAGER_CONTEXT = 256


@dataclass(frozen=True)
class Shape:
    """Every dimension of a model that is to be made.

    Attributes:
        hidden_size: Size of a token's vector.
        num_layers: Layers; of encoder and decoder each.
        num_heads: Attention heads.
        context: Longest sequence in tokens.
        dropout: Share of values dropped in training.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    context: int
    dropout: float


def shape_of(spec: ScratchModel, min_context: int = 0) -> Shape:
    """Return the preset of the architecture and size, with the spec's own values put in.

    Args:
        spec: What the user asked for.
        min_context: Tokens that training needs; the context grows to it unless it was given.

    Raises:
        ConfigError: The heads do not divide the hidden size (``MODEL-002``), the given context is
            shorter than what training needs (``MODEL-004``), or the architecture has no such size
            (``MODEL-005``).
    """
    assert spec.architecture is not None  # `ScratchModel.suited` filled it in
    sizes = spec.architecture.sizes
    if spec.size not in sizes:
        name, known = spec.architecture.kind, ", ".join(sizes) or "-"
        raise ConfigError(
            "MODEL-005", where="train.model.size", name=name, size=spec.size, known=known
        )
    shape = Shape(**sizes[spec.size])
    given = {name: getattr(spec, name) for name in Shape.__dataclass_fields__}
    shape = replace(shape, **{name: value for name, value in given.items() if value is not None})
    if spec.context is None:
        shape = replace(shape, context=max(shape.context, min_context))
    elif spec.context < min_context:
        where = "train.model.context"
        raise ConfigError("MODEL-004", where=where, given=spec.context, needed=min_context)
    if shape.hidden_size % shape.num_heads:
        where = "train.model.num_heads"
        raise ConfigError("MODEL-002", where=where, heads=shape.num_heads, hidden=shape.hidden_size)
    return shape


def attention_for(config: PreTrainedConfig) -> str | None:
    """Return the attention that is quickest for small models on a CPU, None for the default."""
    import torch

    hidden = getattr(config, "hidden_size", None) or getattr(config, "d_model", None) or 0
    context = getattr(config, "max_position_embeddings", None) or 0
    small = 0 < hidden <= MAX_EAGER_HIDDEN_SIZE and 0 < context <= MAX_EAGER_CONTEXT
    return "eager" if small and not torch.cuda.is_available() else None
