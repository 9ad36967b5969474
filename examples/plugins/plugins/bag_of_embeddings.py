"""A model of our own: the mean of the token embeddings, then one linear layer.

Three things make it usable everywhere: a configuration, a `PreTrainedModel`, and an `Architecture`
whose `build` makes one. `register` gives each a name; afterwards ``architecture: bag`` works in
llmwright.yaml, on the command line and in Python, and the model trains, saves, exports and serves
like the built-in ones.

Shapes: B texts, T tokens, E embedding, C labels.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import LongTensor, Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from llmwright import register
from llmwright.models.config import Architecture
from llmwright.models.presets import Shape
from llmwright.models.spec import ModelRequest


class BagConfig(PreTrainedConfig):
    """What config.json holds."""

    model_type = "bag_of_embeddings"

    def __init__(
        self,
        vocab_size: int = 100,
        hidden_size: int = 32,
        dropout: float = 0.0,
        max_position_embeddings: int = 256,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.max_position_embeddings = max_position_embeddings
        super().__init__(**kwargs)


class BagForSequenceClassification(PreTrainedModel):
    """A classifier that knows which tokens occur, but not in which order."""

    config_class = BagConfig
    base_model_prefix = "bag"

    def __init__(self, config: BagConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        """Return the table that grows when the tokenizer does."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another table in its place."""
        self.embedding = value

    def forward(
        self,
        input_ids: LongTensor,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Return logits_BC; padding does not count."""
        vectors_BTE = self.embedding(input_ids)
        if attention_mask is None:
            mean_BE = vectors_BTE.mean(dim=1)
        else:
            weights_BT1 = attention_mask.to(vectors_BTE.dtype).unsqueeze(-1)
            mean_BE = (vectors_BTE * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1).clamp(min=1)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(mean_BE)))


class BagArchitecture(Architecture):
    """The mean of token embeddings, and a linear layer: tiny, quick, blind to order."""

    auto_classes: ClassVar[tuple[str, ...]] = ("AutoModelForSequenceClassification",)
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {
            "hidden_size": 64,
            "num_layers": 1,
            "num_heads": 1,
            "context": 256,
            "dropout": 0.1,
        }
    }

    kind: Literal["bag"] = "bag"
    """Name of this architecture."""
    scale: float = Field(1.0, gt=0)
    """Factor on the initial embeddings; larger ones learn faster and less steadily."""

    def build(self, shape: Shape, request: ModelRequest) -> PreTrainedModel:
        """Return a classifier with random weights."""
        config = BagConfig(
            vocab_size=request.vocab_size,
            hidden_size=shape.hidden_size,
            dropout=shape.dropout,
            max_position_embeddings=shape.context,
            **request.config_values(),
        )
        model = BagForSequenceClassification(config)
        model.embedding.weight.data *= self.scale
        return model


def register_classes() -> None:
    """Make config.json files with our model_type loadable; again does no harm."""
    AutoConfig.register(BagConfig.model_type, BagConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(
        BagConfig, BagForSequenceClassification, exist_ok=True
    )


register_classes()
register("architecture", "bag", BagArchitecture)
register("model_type", BagConfig.model_type, register_classes)
