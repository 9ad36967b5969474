"""Decoders, encoders and encoder-decoders from scratch: transformers' own classes, our sizes.

Being standard architectures, every exporter and engine knows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmwright.core.errors import ConfigError
from llmwright.models.config import Decoder, Encoder, Seq2Seq
from llmwright.models.presets import FEED_FORWARD_FACTOR, Shape, attention_for

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from llmwright.models.spec import ModelRequest


def instantiate(config: PreTrainedConfig, request: ModelRequest) -> PreTrainedModel:
    """Return a model of the requested class with random weights."""
    import transformers

    config.architectures = None
    auto: Any = getattr(transformers, request.auto_class)
    model: PreTrainedModel = auto.from_config(
        config, attn_implementation=attention_for(config), trust_remote_code=False
    )
    return model


def first_std(hidden_size: int) -> float:
    """Return the standard deviation of first weights that keeps the size of a vector.

    The usual 0.02 is made for wide models. It starves a narrow one's attention: at 128, a decoder
    is 0.1 nats behind after 600 steps, and an encoder-decoder may not begin to learn at all.
    """
    return float(hidden_size**-0.5)


def build_decoder(architecture: Decoder, shape: Shape, request: ModelRequest) -> PreTrainedModel:
    """Return a Llama-type decoder with rotary positions and a gated feed-forward layer.

    Source: Touvron et al. 2023 (arXiv:2302.13971).

    Raises:
        ConfigError: `num_kv_heads` does not divide the heads (``MODEL-003``).
    """
    from transformers import LlamaConfig

    kv_heads = architecture.num_kv_heads or shape.num_heads
    if shape.num_heads % kv_heads:
        where = "train.model.architecture.num_kv_heads"
        raise ConfigError("MODEL-003", where=where, given=kv_heads, heads=shape.num_heads)
    # A gate makes three matrices out of two: 8/3 keeps the parameters of a plain layer of factor 4.
    intermediate = -(-shape.hidden_size * FEED_FORWARD_FACTOR * 2 // 3 // 32) * 32
    config = LlamaConfig(
        vocab_size=request.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=intermediate,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=shape.context,
        attention_dropout=shape.dropout,
        initializer_range=first_std(shape.hidden_size),
        tie_word_embeddings=architecture.tie_embeddings,
        **request.config_values(),
    )
    return instantiate(config, request)


def build_encoder(architecture: Encoder, shape: Shape, request: ModelRequest) -> PreTrainedModel:
    """Return a BERT-type encoder with learned positions.

    Source: Devlin et al. 2019 (arXiv:1810.04805).
    """
    from transformers import BertConfig

    config = BertConfig(
        vocab_size=request.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.hidden_size * FEED_FORWARD_FACTOR,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        max_position_embeddings=shape.context,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        **request.config_values(),
    )
    return instantiate(config, request)


def build_seq2seq(architecture: Seq2Seq, shape: Shape, request: ModelRequest) -> PreTrainedModel:
    """Return a Pegasus-type encoder-decoder: normalized before each layer, sinusoidal positions.

    The decoder starts from the tokenizer's `bos`, and the embedding is also the output layer.

    Source: Vaswani et al. 2017 (arXiv:1706.03762); Zhang et al. 2020 (arXiv:1912.08777).
    """
    from transformers import PegasusConfig

    values = request.config_values()
    config = PegasusConfig(
        vocab_size=request.vocab_size,
        d_model=shape.hidden_size,
        encoder_layers=shape.num_layers,
        decoder_layers=architecture.num_decoder_layers or shape.num_layers,
        encoder_attention_heads=shape.num_heads,
        decoder_attention_heads=shape.num_heads,
        encoder_ffn_dim=shape.hidden_size * FEED_FORWARD_FACTOR,
        decoder_ffn_dim=shape.hidden_size * FEED_FORWARD_FACTOR,
        max_position_embeddings=shape.context,
        dropout=shape.dropout,
        init_std=first_std(shape.hidden_size),
        scale_embedding=True,
        forced_eos_token_id=None,
        decoder_start_token_id=values.get("bos_token_id"),
        **values,
    )
    return instantiate(config, request)
