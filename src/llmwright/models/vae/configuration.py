"""What a text VAE's config.json holds."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class TextVaeConfig(PreTrainedConfig):
    """Configuration of the text variational autoencoder.

    Args:
        vocab_size: Entries of the vocabulary.
        embedding_size: Size of a token's vector, shared by encoder and decoder.
        hidden_size: Size of the state of the decoder and of each direction of the encoder.
        latent_size: Numbers that describe a whole text.
        num_layers: Layers of the encoder and of the decoder each.
        cell: ``rnn``, ``lstm`` or ``gru``.
        dropout: Share of values dropped after embedding, between layers, before the head, 0 to 1.
        word_dropout: Share of the decoder's input tokens hidden in training, 0 to 1.
        max_position_embeddings: Longest text it was trained for, in tokens.
        unk_token_id: Token that stands for a hidden one.
        **kwargs: What every configuration of transformers has.
    """

    model_type = "llmwright_vae"

    def __init__(
        self,
        vocab_size: int = 8000,
        embedding_size: int = 128,
        hidden_size: int = 128,
        latent_size: int = 32,
        num_layers: int = 1,
        cell: str = "gru",
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        max_position_embeddings: int = 256,
        unk_token_id: int = 1,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.latent_size = latent_size
        self.num_layers = num_layers
        # What generation of transformers reads.
        self.num_hidden_layers = num_layers
        self.cell = cell
        self.dropout = dropout
        self.word_dropout = word_dropout
        self.max_position_embeddings = max_position_embeddings
        self.unk_token_id = unk_token_id
        kwargs.setdefault("use_cache", True)
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)
