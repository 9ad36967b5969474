"""Objectives: what can be minimised, and what can be set about each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from llmwright.core.config import Kind
from llmwright.core.registry import Registry, load_object
from llmwright.models.config import HubModel, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmwright.data.records import DatasetInfo, Row
    from llmwright.tasks.task import Encoding, Task

_CONFIG = "llmwright.training.objectives.config"
_JUDGED = "llmwright.training.objectives.judged_config"
_OBJECTIVES = "llmwright.training.objectives"

# `build(request)` returns a `training.objectives.objective.Objective`.
OBJECTIVES: Registry[type[ObjectiveKind]] = Registry(
    "objective",
    {
        "causal_lm": f"{_CONFIG}:CausalLMLoss",
        "masked_lm": f"{_CONFIG}:MaskedLMLoss",
        "classification": f"{_CONFIG}:ClassificationLoss",
        "regression": f"{_CONFIG}:RegressionLoss",
        "tagging": f"{_CONFIG}:TaggingLoss",
        "seq2seq": f"{_CONFIG}:Seq2SeqLoss",
        "vae": f"{_CONFIG}:VaeLoss",
        "dpo": f"{_JUDGED}:DpoLoss",
        "ipo": f"{_JUDGED}:IpoLoss",
        "orpo": f"{_JUDGED}:OrpoLoss",
        "simpo": f"{_JUDGED}:SimpoLoss",
        "kto": f"{_JUDGED}:KtoLoss",
        "reward": f"{_JUDGED}:RewardLoss",
        "distillation": f"{_CONFIG}:DistillationLoss",
    },
)

# What rows that are more than their task's own are learned by when nobody says.
BY_ROW_TYPE = {"preference": "dpo", "flag": "kto"}


class ObjectiveKind(Kind):
    """What is minimised.

    Attributes:
        tasks: Tasks of datasets that it can serve.
        row_types: Rows it learns from; empty for those of the task.
        makes: Task of the finished model; empty when it is the dataset's.
        rows: ``"module:Class"`` of its `Encoding`; empty when the task's own will do.
        architecture: Architecture of a scratch model that it needs; empty when any will do.
        packs: Whether plain texts are joined to one stream of tokens.
        lr_factor: Share of the usual learning rate that it takes by default.
        in_loss: Settings of its own that the loss on the validation split is calculated with,
            ``kind`` among them where that is not the plain loss of the rows.
        in_accuracy: The same of the accuracy.
    """

    tasks: ClassVar[tuple[str, ...]] = ()
    row_types: ClassVar[tuple[str, ...]] = ()
    makes: ClassVar[str] = ""
    rows: ClassVar[str] = ""
    architecture: ClassVar[str] = ""
    packs: ClassVar[bool] = False
    lr_factor: ClassVar[float] = 1.0
    in_loss: ClassVar[tuple[str, ...]] = ()
    in_accuracy: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def learns_from(cls, info: DatasetInfo) -> bool:
        """Say whether it can learn from a dataset."""
        from llmwright.tasks.task import TASKS

        wanted = cls.row_types or TASKS.get(info.task).row_types
        return info.task in cls.tasks and info.row_type in wanted

    def measure(self, figure: str) -> dict[str, Any]:
        """Return what ``loss`` or ``accuracy`` are measured with: they compare where this is equal.

        Args:
            figure: One of the two.
        """
        names = self.in_loss if figure == "loss" else self.in_accuracy
        return {name: getattr(self, name) for name in names}

    def pinned(self, pin: Callable[[HubModel], HubModel]) -> ObjectiveKind:
        """Return it with every hub model that it reads at its present commit.

        Args:
            pin: Returns a hub model so.
        """
        return self

    def warning(self, rows: Iterable[Row]) -> str:
        """Return what is to be said of the training rows before they are learned."""
        return ""

    def encoding(self, task: Task) -> Encoding:
        """Return how its rows become examples."""
        if not self.rows:
            return task
        found: Encoding = load_object(self.rows)()
        return found


class CausalLMLoss(ObjectiveKind):
    """Predict each next token."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.causal_lm:CausalLMObjective"
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    packs: ClassVar[bool] = True

    kind: Literal["causal_lm"] = "causal_lm"
    """Name of this objective."""


class MaskedLMLoss(ObjectiveKind):
    """Predict masked tokens from both sides: what BERT-type models learn first."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.masked_lm:MaskedLMObjective"
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    row_types: ClassVar[tuple[str, ...]] = ("text",)
    makes: ClassVar[str] = "fill-mask"
    # The fewer tokens are masked, the easier each is to be guessed.
    in_loss: ClassVar[tuple[str, ...]] = ("kind", "share")
    in_accuracy: ClassVar[tuple[str, ...]] = ("kind", "share")

    kind: Literal["masked_lm"] = "masked_lm"
    """Name of this objective."""
    share: float = Field(0.15, gt=0, lt=1)
    """Share of tokens to be predicted: of them 80 % are masked, 10 % replaced by random ones and
    10 % left as they are."""


class ClassificationLoss(ObjectiveKind):
    """Predict the label, or the labels, of a text."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.classification:build"
    tasks: ClassVar[tuple[str, ...]] = ("text-classification",)

    kind: Literal["classification"] = "classification"
    """Name of this objective."""


class RegressionLoss(ObjectiveKind):
    """Predict a number of a text, or of two texts: the squared error."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.regression:RegressionObjective"
    tasks: ClassVar[tuple[str, ...]] = ("text-regression",)

    kind: Literal["regression"] = "regression"
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
    # Where the latent vector costs less, texts are reconstructed better, too.
    in_loss: ClassVar[tuple[str, ...]] = ("kind", "kl_weight", "free_bits")
    in_accuracy: ClassVar[tuple[str, ...]] = ("kind", "kl_weight", "free_bits")

    kind: Literal["vae"] = "vae"
    """Name of this objective."""
    kl_weight: float = Field(1.0, ge=0)
    """Weight of the KL divergence at the end of annealing; 1 is the evidence lower bound, less
    keeps more of the text in the latent vector."""
    kl_anneal_fraction: float = Field(0.5, ge=0, le=1)
    """Share of the run over which that weight grows linearly from 0. Growing slowly lets the
    decoder learn to use the latent vector before it is made costly."""
    free_bits: float = Field(0.0, ge=0)
    """Nats of KL divergence per latent dimension that cost nothing, averaged over the texts
    computed together: a floor that keeps the latent vector from being ignored."""


class DistillationLoss(ObjectiveKind):
    """Learn from what another model says, beside what the rows say."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.distillation:DistillationObjective"
    tasks: ClassVar[tuple[str, ...]] = (
        "text-generation",
        "text-classification",
        "token-classification",
        "seq2seq",
    )
    packs: ClassVar[bool] = True

    kind: Literal["distillation"] = "distillation"
    """Name of this objective."""
    teacher: ModelSpec
    """The model that teaches: `step` (of an earlier step, or any model artifact) or `hub` (a folder
    or hub id). It needs the same vocabulary and the same labels."""
    temperature: float = Field(2.0, gt=0)
    """What both models' logits are divided by: more shows the student also what the teacher finds
    unlikely."""
    teacher_weight: float = Field(0.5, ge=0, le=1)
    """Share of the loss that comes from the teacher; the rest comes from the rows."""
    hidden_weight: float = Field(0.0, ge=0)
    """Weight of the difference between student and teacher in how alike the last hidden states of a
    text's tokens are (Tung and Mori 2019); the sizes of the two may differ. 0 leaves it out."""

    def pinned(self, pin: Callable[[HubModel], HubModel]) -> ObjectiveKind:
        """Return it with its teacher at its present commit, where that is a hub model."""
        if not isinstance(self.teacher, HubModel):
            return self
        return self.model_copy(update={"teacher": pin(self.teacher)})
