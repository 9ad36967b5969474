"""Objectives: what can be minimised, and what can be set about each."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from llmwright.core.config import Kind
from llmwright.core.registry import Registry

_CONFIG = "llmwright.training.objectives.config"
_OBJECTIVES = "llmwright.training.objectives"

# `build(request)` returns a `training.objectives.objective.Objective`.
OBJECTIVES: Registry[type[ObjectiveKind]] = Registry(
    "objective",
    {
        "causal_lm": f"{_CONFIG}:CausalLMLoss",
        "classification": f"{_CONFIG}:ClassificationLoss",
        "tagging": f"{_CONFIG}:TaggingLoss",
        "seq2seq": f"{_CONFIG}:Seq2SeqLoss",
        "vae": f"{_CONFIG}:VaeLoss",
    },
)


class ObjectiveKind(Kind):
    """What is minimised.

    Attributes:
        tasks: Tasks it can serve.
        architecture: Architecture of a scratch model that it needs; empty when any will do.
        packs: Whether plain texts are joined to one stream of tokens.
    """

    tasks: ClassVar[tuple[str, ...]] = ()
    architecture: ClassVar[str] = ""
    packs: ClassVar[bool] = False


class CausalLMLoss(ObjectiveKind):
    """Predict each next token."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.causal_lm:CausalLMObjective"
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    packs: ClassVar[bool] = True

    kind: Literal["causal_lm"] = "causal_lm"
    """Name of this objective."""


class ClassificationLoss(ObjectiveKind):
    """Predict the label, or the labels, of a text."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.classification:build"
    tasks: ClassVar[tuple[str, ...]] = ("text-classification",)

    kind: Literal["classification"] = "classification"
    """Name of this objective."""


class TaggingLoss(ObjectiveKind):
    """Predict a tag for each word."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.tagging:TaggingObjective"
    tasks: ClassVar[tuple[str, ...]] = ("token-classification",)

    kind: Literal["tagging"] = "tagging"
    """Name of this objective."""


class Seq2SeqLoss(ObjectiveKind):
    """Predict each next token of the target from the input and the target so far."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.seq2seq:Seq2SeqObjective"
    tasks: ClassVar[tuple[str, ...]] = ("seq2seq",)

    kind: Literal["seq2seq"] = "seq2seq"
    """Name of this objective."""


class VaeLoss(ObjectiveKind):
    """Reconstruct a text from a latent vector: the negative evidence lower bound, per token."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.vae:VaeObjective"
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    architecture: ClassVar[str] = "vae"

    kind: Literal["vae"] = "vae"
    """Name of this objective."""
    kl_weight: float = Field(1.0, ge=0)
    """Weight of the KL divergence at the end of annealing; 1 is the evidence lower bound, less
    keeps more of the text in the latent vector."""
    kl_anneal_fraction: float = Field(0.5, ge=0, le=1)
    """Share of the run over which that weight grows linearly from 0. Growing slowly lets the
    decoder learn to use the latent vector before it is made costly."""
    free_bits: float = Field(0.0, ge=0)
    """Nats of KL divergence per latent dimension that cost nothing, averaged over the batch: a
    floor that keeps the latent vector from being ignored."""
