"""From the options of a recurrent architecture to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmwright.core.errors import ConfigError
from llmwright.models.config import Recurrent
from llmwright.models.presets import Shape
from llmwright.models.recurrent.configuration import RecurrentConfig
from llmwright.models.recurrent.register import register
from llmwright.models.transformer import instantiate
from llmwright.models.vectors.config import VectorFile
from llmwright.models.vectors.fill import VectorRequest, fill
from llmwright.models.vectors.read import embedding_size_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmwright.models.spec import ModelRequest


def build_recurrent(
    architecture: Recurrent, shape: Shape, request: ModelRequest
) -> PreTrainedModel:
    """Return a recurrent language model, classifier or tagger with random weights.

    Its token vectors may come from elsewhere.

    Raises:
        ConfigError: A language model is to read from its end (``MODEL-008``), or word vectors have
            another size than asked for (``MODEL-042``).
        InputError, ResourceError: Word vectors cannot be had (``MODEL-040`` to ``MODEL-046``).
    """
    language_model = request.auto_class == "AutoModelForCausalLM"
    if language_model and architecture.bidirectional:
        raise ConfigError("MODEL-008", where="train.model.architecture.bidirectional")
    both_ways = architecture.bidirectional
    embedding_size = architecture.embedding_size
    vectors = architecture.vectors
    if isinstance(vectors, VectorFile):
        embedding_size = embedding_size_of(vectors, request.root, embedding_size)
    embedding_size = embedding_size or shape.hidden_size
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
    model = instantiate(config, request)
    if vectors is not None:
        embedding: Any = model.get_input_embeddings()
        wanted = VectorRequest(
            request.tokenizer,
            embedding_size,
            request.seed,
            request.root,
            request.sequences,
            request.notice,
        )
        fill(embedding, vectors, wanted)
    return model
