"""What a recurrent model's config.json holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig


class RecurrentConfig(PreTrainedConfig):
    """Configuration of the recurrent language model, classifier and tagger.

    Args:
        vocab_size: Entries of the vocabulary.
        embedding_size: Size of a token's vector.
        hidden_size: Size of the state of one direction.
        num_layers: Layers on top of each other.
        cell: ``rnn``, ``lstm`` or ``gru``.
        bidirectional: Whether the text is also read from its end; never for a language model.
        dropout: Share of values dropped after embedding, between layers, before the head, 0 to 1.
        embedding_dropout: Share of whole tokens dropped, 0 to 1.
        pooling: ``max``, ``mean``, ``last`` or ``attention``; classifier only.
        ngram_orders: Orders of the token n-grams whose vectors are averaged; classifier only.
        ngram_buckets: Rows of the table the n-grams are hashed into.
        ngram_size: Size of an n-gram's vector.
        max_position_embeddings: Longest text it was trained for, in tokens.
        **kwargs: What every configuration of transformers has.
    """

    model_type = "llmwright_recurrent"

    def __init__(
        self,
        vocab_size: int = 8000,
        embedding_size: int = 128,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: str = "gru",
        bidirectional: bool = False,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        pooling: str = "max",
        ngram_orders: Sequence[int] = (),
        ngram_buckets: int = 1 << 15,
        ngram_size: int = 128,
        max_position_embeddings: int = 512,
        tie_word_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        # What generation and exporters of transformers read.
        self.num_hidden_layers = num_layers
        self.cell = cell
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.pooling = pooling
        self.ngram_orders = list(ngram_orders)
        self.ngram_buckets = ngram_buckets
        self.ngram_size = ngram_size
        self.max_position_embeddings = max_position_embeddings
        kwargs.setdefault("use_cache", True)
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)

    @property
    def output_size(self) -> int:
        """Size of a token's vector after the last layer."""
        return self.hidden_size * (2 if self.bidirectional else 1)
