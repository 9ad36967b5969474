"""From the options of a recurrent architecture to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmwright.core.errors import ConfigError
from llmwright.models.config import Recurrent
from llmwright.models.presets import Shape
from llmwright.models.recurrent.configuration import RecurrentConfig
from llmwright.models.recurrent.register import register
from llmwright.models.transformer import instantiate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmwright.models.spec import ModelRequest


def build_recurrent(
    architecture: Recurrent, shape: Shape, request: ModelRequest
) -> PreTrainedModel:
    """Return a recurrent language model, classifier or tagger with random weights.

    Raises:
        ConfigError: A language model is to read from its end (``MODEL-008``).
    """
    language_model = request.auto_class == "AutoModelForCausalLM"
    if language_model and architecture.bidirectional:
        raise ConfigError("MODEL-008", where="train.model.architecture.bidirectional")
    both_ways = architecture.bidirectional
    embedding_size = architecture.embedding_size or shape.hidden_size
    classifies = request.auto_class == "AutoModelForSequenceClassification"
    config = RecurrentConfig(
        vocab_size=request.vocab_size,
        embedding_size=embedding_size,
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        cell=architecture.cell,
        bidirectional=not language_model if both_ways is None else both_ways,
        dropout=shape.dropout,
        embedding_dropout=architecture.embedding_dropout,
        pooling=architecture.pooling,
        ngram_orders=architecture.ngram_orders if classifies else (),
        ngram_buckets=architecture.ngram_buckets,
        ngram_size=embedding_size,
        max_position_embeddings=shape.context,
        tie_word_embeddings=language_model and architecture.tie_embeddings,
        **request.config_values(),
    )
    register()
    return instantiate(config, request)
