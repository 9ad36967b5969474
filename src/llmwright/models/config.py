"""Where a model comes from: from scratch, from a folder or hub, or from an earlier step."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from llmwright.core.config import Choice, Input, Kind, LocalPath
from llmwright.core.errors import LLMwrightError
from llmwright.core.registry import Registry
from llmwright.models.vectors.config import VECTORS, VectorsKind
from llmwright.tokenization import hub
from llmwright.tokenization.config import located

if TYPE_CHECKING:
    from collections.abc import Callable

Cell = Literal["rnn", "lstm", "gru"]

# Architectures that can be made from scratch. A plugin registers a subclass of `Architecture`.
ARCHITECTURES: Registry[type[Architecture]] = Registry(
    "architecture",
    {
        "decoder": "llmwright.models.config:Decoder",
        "encoder": "llmwright.models.config:Encoder",
        "seq2seq": "llmwright.models.config:Seq2Seq",
        "recurrent": "llmwright.models.config:Recurrent",
        "vae": "llmwright.models.config:Vae",
    },
)

# What is made when nobody says which family: the plain one that does the task.
ARCHITECTURE_OF = {
    "AutoModelForCausalLM": "decoder",
    "AutoModelForSequenceClassification": "encoder",
    "AutoModelForTokenClassification": "encoder",
    "AutoModelForMaskedLM": "encoder",
    "AutoModelForSeq2SeqLM": "seq2seq",
}

# `model_type` in config.json → function without arguments that registers its classes with the
# Auto classes of transformers. Only needed for classes that transformers does not know.
MODEL_TYPES: Registry[Callable[[], None]] = Registry(
    "model_type",
    {
        "llmwright_recurrent": "llmwright.models.recurrent.register:register",
        "llmwright_vae": "llmwright.models.vae.register:register",
    },
)


_DIMENSIONS = ("hidden_size", "num_layers", "num_heads", "context", "dropout")


def _table(**sizes: tuple[int, int, int, int, float]) -> dict[str, dict[str, Any]]:
    """Return sizes whose values stand in the order of `_DIMENSIONS` as mappings."""
    return {name: dict(zip(_DIMENSIONS, row, strict=True)) for name, row in sizes.items()}


class Architecture(Kind):
    """What is particular to one family of models; dimensions are set beside it.

    `build(shape, request)` returns the model: `shape` is a `presets.Shape` with every dimension
    filled in, `request` a `spec.ModelRequest`.

    Attributes:
        auto_classes: The transformers Auto classes, thus the tasks, that the family can do.
        sizes: Size (tiny, small, base) → hidden_size, num_layers, num_heads, context, dropout.
        unused: Patterns of the names of weights that learn nothing, as some tasks do without them.
    """

    auto_classes: ClassVar[tuple[str, ...]] = ()
    sizes: ClassVar[dict[str, dict[str, Any]]] = {}
    unused: ClassVar[tuple[str, ...]] = ()


class Decoder(Architecture):
    """A Llama-type decoder: each token sees those before it."""

    implementation: ClassVar[str] = "llmwright.models.transformer:build_decoder"
    auto_classes: ClassVar[tuple[str, ...]] = (
        "AutoModelForCausalLM",
        "AutoModelForSequenceClassification",
        "AutoModelForTokenClassification",
    )
    sizes: ClassVar[dict[str, dict[str, Any]]] = _table(
        tiny=(128, 4, 4, 256, 0.0),
        small=(256, 6, 8, 512, 0.0),
        base=(512, 8, 8, 1024, 0.0),
    )

    kind: Literal["decoder"] = "decoder"
    """Name of this architecture."""
    num_kv_heads: int | None = Field(None, ge=1)
    """Heads that keys and values have; fewer than the query heads save memory when generating. Must
    divide the number of heads; the same number when not given."""
    tie_embeddings: bool = True
    """Use the token embedding also as the output layer: fewer parameters, better for small
    models."""


class Encoder(Architecture):
    """A BERT-type encoder: each token sees the whole text."""

    implementation: ClassVar[str] = "llmwright.models.transformer:build_encoder"
    auto_classes: ClassVar[tuple[str, ...]] = (
        "AutoModelForSequenceClassification",
        "AutoModelForTokenClassification",
        "AutoModelForMaskedLM",
    )
    sizes: ClassVar[dict[str, dict[str, Any]]] = _table(
        tiny=(128, 2, 4, 256, 0.1),
        small=(256, 4, 4, 512, 0.1),
        base=(512, 8, 8, 512, 0.1),
    )

    kind: Literal["encoder"] = "encoder"
    """Name of this architecture."""


class Seq2Seq(Architecture):
    """An encoder-decoder of Pegasus' type: reads one text, writes another."""

    implementation: ClassVar[str] = "llmwright.models.transformer:build_seq2seq"
    auto_classes: ClassVar[tuple[str, ...]] = ("AutoModelForSeq2SeqLM",)
    sizes: ClassVar[dict[str, dict[str, Any]]] = _table(
        tiny=(128, 2, 4, 256, 0.1),
        small=(256, 3, 4, 512, 0.1),
        base=(512, 6, 8, 512, 0.1),
    )

    kind: Literal["seq2seq"] = "seq2seq"
    """Name of this architecture."""
    num_decoder_layers: int | None = Field(None, ge=1)
    """Layers of the decoder; as many as the encoder has when not given. Fewer write faster."""


class Recurrent(Architecture):
    """A recurrent network: reads a text token by token with a state of fixed size."""

    implementation: ClassVar[str] = "llmwright.models.recurrent.build:build_recurrent"
    auto_classes: ClassVar[tuple[str, ...]] = (
        "AutoModelForCausalLM",
        "AutoModelForSequenceClassification",
        "AutoModelForTokenClassification",
    )
    sizes: ClassVar[dict[str, dict[str, Any]]] = _table(
        tiny=(128, 1, 1, 512, 0.2),
        small=(256, 2, 1, 512, 0.2),
        base=(512, 2, 1, 1024, 0.3),
    )

    kind: Literal["recurrent"] = "recurrent"
    """Name of this architecture."""
    cell: Cell = "gru"
    """`rnn` (tanh), `lstm` or `gru`; gru learns as well as lstm on small data and has fewer
    parameters."""
    bidirectional: bool | None = None
    """Also read the text from its end. Not given: yes for classifying and tagging, no for a
    language model (which must not see what it predicts)."""
    embedding_size: int | None = Field(None, ge=1)
    """Size of a token's vector. When not given, that of the vectors in a file (`vectors`), else the
    hidden size."""
    vectors: Annotated[VectorsKind, Choice(VECTORS)] | None = None
    """Vectors that tokens begin with: those of a file (`word2vec`, `glove`), or learned from the
    training texts first (`train`). Words that are rare in the training texts gain most. Random when
    not given."""
    embedding_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of whole tokens whose vectors are left out in training."""
    tie_embeddings: bool = False
    """Language model only: use the token embedding also as the output layer."""
    pooling: Literal["max", "mean", "last", "attention"] = "max"
    """Classifier only: how the vectors of the tokens become one; padding never takes part."""
    ngram_orders: tuple[int, ...] = ()
    """Classifier only: also average vectors of token n-grams of these orders, as in `[1, 2]`: words
    and pairs of words, which tell intents apart better than the recurrent state alone. None when
    empty."""
    ngram_buckets: int = Field(1 << 15, ge=1)
    """Rows of the table the n-grams are hashed into; used with `ngram_orders`. More rows, fewer
    collisions."""


class Vae(Architecture):
    """A text variational autoencoder: recurrent encoder, Gaussian latent, recurrent decoder."""

    implementation: ClassVar[str] = "llmwright.models.vae.build:build_vae"
    auto_classes: ClassVar[tuple[str, ...]] = ("AutoModelForCausalLM",)
    sizes: ClassVar[dict[str, dict[str, Any]]] = _table(
        tiny=(128, 1, 1, 256, 0.1),
        small=(256, 1, 1, 256, 0.2),
        base=(512, 1, 1, 512, 0.2),
    )

    kind: Literal["vae"] = "vae"
    """Name of this architecture."""
    cell: Cell = "gru"
    """`rnn` (tanh), `lstm` or `gru`, in the encoder and the decoder."""
    latent_size: int = Field(32, ge=1)
    """Numbers that describe a whole text."""
    word_dropout: float = Field(0.3, ge=0, le=1)
    """Share of the decoder's input tokens replaced by the unknown token in training, so that the
    decoder needs the latent vector; without it the latent vector is often ignored."""
    embedding_size: int | None = Field(None, ge=1)
    """Size of a token's vector; the hidden size when not given."""


class ScratchModel(Kind):
    """A new model with random weights."""

    implementation: ClassVar[str] = "llmwright.models.spec:from_scratch"

    kind: Literal["scratch"] = "scratch"
    """Name of this origin."""
    architecture: Annotated[Architecture, Choice(ARCHITECTURES)] | None = None
    """Family of the model; what is particular to it is set inside: `{kind: recurrent, cell:
    lstm}`. When not given, the one that suits the task; it is named."""
    size: Literal["tiny", "small", "base"] = "tiny"
    """Preset of all dimensions: tiny trains in minutes on a laptop, base wants a GPU. The number of
    parameters is printed; each dimension below replaces the preset's."""
    hidden_size: int | None = Field(None, ge=2)
    """Size of a token's vector inside the model."""
    num_layers: int | None = Field(None, ge=1)
    """Layers; of the encoder and of the decoder each in seq2seq."""
    num_heads: int | None = Field(None, ge=1)
    """Attention heads; must divide the hidden size. Not used by recurrent and vae."""
    context: int | None = Field(None, ge=8)
    """Longest sequence in tokens; raised to what training needs when not given."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Share of values dropped in training; in a decoder, of attention weights only, as in Llama."""

    def suited(self, auto_class: str, name: str = "") -> ScratchModel:
        """Return this spec with its architecture filled in where it was not given.

        Args:
            auto_class: Class of transformers that does the task.
            name: Architecture that an objective needs; empty when any will do.
        """
        if self.architecture is not None:
            return self
        family = ARCHITECTURES.get(name or ARCHITECTURE_OF[auto_class])
        return self.model_copy(update={"architecture": family.model_validate({})})


class HubModel(Kind):
    """A published or local Hugging Face model; code in its repository is never run."""

    implementation: ClassVar[str] = "llmwright.models.spec:from_hub"

    kind: Literal["hub"] = "hub"
    """Name of this origin."""
    name: Annotated[str, LocalPath()]
    """A local folder, or a hub id such as `Qwen/Qwen3-0.6B`."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""

    def local_files(self, root: Path) -> list[Path]:
        """Return, for the fingerprint, a local folder's files; of a hub model its configuration.

        The path of the latter names the commit that the id stands for now.
        """
        folder = located(self.name, root)
        if folder.is_dir():
            return sorted(p for p in folder.iterdir() if p.is_file())
        # What cannot be found or reached is the operation's to report, with its own words.
        with contextlib.suppress(LLMwrightError):
            if hub.find_local(self.name, root) is None:
                return [hub.fetch(self.name, self.revision, ["config.json"]) / "config.json"]
        return []


class StepModel(Kind):
    """The model that an earlier step of this project made."""

    implementation: ClassVar[str] = "llmwright.models.spec:from_step"

    kind: Literal["step"] = "step"
    """Name of this origin."""
    name: Annotated[str | None, Input("model")] = None
    """A step's name, an artifact id or a folder; the newest model when not given."""


MODELS: Registry[type[Kind]] = Registry(
    "model_source",
    {
        "scratch": "llmwright.models.config:ScratchModel",
        "hub": "llmwright.models.config:HubModel",
        "step": "llmwright.models.config:StepModel",
    },
)

ModelSpec = Annotated[Kind, Choice(MODELS)]
