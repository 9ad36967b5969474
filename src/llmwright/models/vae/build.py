"""From the options of a VAE architecture to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmwright.models.config import Vae
from llmwright.models.presets import Shape
from llmwright.models.transformer import instantiate
from llmwright.models.vae.configuration import TextVaeConfig
from llmwright.models.vae.register import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmwright.models.spec import ModelRequest


def build_vae(architecture: Vae, shape: Shape, request: ModelRequest) -> PreTrainedModel:
    """Return a text VAE with random weights."""
    unknown = request.tokenizer.unk_token_id
    config = TextVaeConfig(
        vocab_size=request.vocab_size,
        embedding_size=architecture.embedding_size or shape.hidden_size,
        hidden_size=shape.hidden_size,
        latent_size=architecture.latent_size,
        num_layers=shape.num_layers,
        cell=architecture.cell,
        dropout=shape.dropout,
        word_dropout=architecture.word_dropout,
        max_position_embeddings=shape.context,
        # Without an unknown token a hidden one is written as padding, which means nothing either.
        unk_token_id=request.tokenizer.pad_token_id if unknown is None else unknown,
        **request.config_values(),
    )
    register()
    return instantiate(config, request)
