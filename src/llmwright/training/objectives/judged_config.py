"""Objectives that learn from judged answers, and what can be set about each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from llmwright.core.locale import text
from llmwright.training.objectives.config import ObjectiveKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmwright.data.records import Row

# How far the weights of all good and of all bad answers may be apart.
MOST_APART = 4 / 3
_JUDGED = "llmwright.training.objectives"


class PairLoss(ObjectiveKind):
    """Prefer the chosen answer to the rejected one."""

    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    row_types: ClassVar[tuple[str, ...]] = ("preference",)
    rows: ClassVar[str] = "llmwright.tasks.preference:Pairs"
    # The model knows its task: it is to be moved a little, not taught.
    lr_factor: ClassVar[float] = 0.1
    in_loss: ClassVar[tuple[str, ...]] = ("kind",)
    # Which answer is ahead each says in its own way, but with any of its settings in the same.
    in_accuracy: ClassVar[tuple[str, ...]] = ("kind",)


class DpoLoss(PairLoss):
    """Direct preference optimisation: no reward model, the model of the start as reference."""

    implementation: ClassVar[str] = f"{_JUDGED}.preference:DpoObjective"
    in_loss: ClassVar[tuple[str, ...]] = ("kind", "beta", "smoothing", "sft_weight")

    kind: Literal["dpo"] = "dpo"
    """Name of this objective."""
    beta: float = Field(0.1, gt=0)
    """How closely the model keeps to what it was: more keeps it closer."""
    smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs that are taken to be judged the wrong way round (cDPO)."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of the chosen answers' own cross entropy per token (RPO): keeps their likelihood
    from falling together with that of the rejected ones."""


class IpoLoss(PairLoss):
    """Identity preference optimisation: aims at a finite margin, so that it cannot overfit."""

    implementation: ClassVar[str] = f"{_JUDGED}.preference:IpoObjective"
    in_loss: ClassVar[tuple[str, ...]] = ("kind", "beta")

    kind: Literal["ipo"] = "ipo"
    """Name of this objective."""
    beta: float = Field(0.1, gt=0)
    """The margin that is aimed at is 1 / (2 beta), in nats per token."""


class OrpoLoss(PairLoss):
    """Odds ratio preference optimisation: fine-tuning and preference at once, no reference."""

    implementation: ClassVar[str] = f"{_JUDGED}.preference:OrpoObjective"
    lr_factor: ClassVar[float] = 1.0
    in_loss: ClassVar[tuple[str, ...]] = ("kind", "beta")

    kind: Literal["orpo"] = "orpo"
    """Name of this objective."""
    beta: float = Field(0.1, gt=0)
    """Weight of the odds ratio beside the chosen answer's cross entropy."""


class SimpoLoss(PairLoss):
    """Simple preference optimisation: mean log-probabilities with a margin, no reference."""

    implementation: ClassVar[str] = f"{_JUDGED}.preference:SimpoObjective"
    in_loss: ClassVar[tuple[str, ...]] = ("kind", "beta", "margin")

    kind: Literal["simpo"] = "simpo"
    """Name of this objective."""
    beta: float = Field(2.0, gt=0)
    """What the difference of mean log-probabilities is multiplied with."""
    margin: float = Field(1.0, ge=0)
    """By how much the chosen answer is to be ahead after that."""


class KtoLoss(ObjectiveKind):
    """Kahneman-Tversky optimisation: learns from single answers that are good or bad."""

    implementation: ClassVar[str] = f"{_JUDGED}.kto:KtoObjective"
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    row_types: ClassVar[tuple[str, ...]] = ("flag",)
    rows: ClassVar[str] = "llmwright.tasks.preference:Flags"
    lr_factor: ClassVar[float] = 0.1
    in_loss: ClassVar[tuple[str, ...]] = ("kind", "beta")
    in_accuracy: ClassVar[tuple[str, ...]] = ("kind",)

    kind: Literal["kto"] = "kto"
    """Name of this objective."""
    beta: float = Field(0.1, gt=0)
    """How closely the model keeps to what it was: more keeps it closer."""
    good_weight: float = Field(1.0, gt=0)
    """Weight of answers that are good. The sums of weights of good and bad answers should be within
    4:3 of each other."""
    bad_weight: float = Field(1.0, gt=0)
    """Weight of answers that are bad."""

    def warning(self, rows: Iterable[Row]) -> str:
        """Return a sentence where good and bad answers do not weigh about the same.

        Source: Ethayarajh et al. 2024 (arXiv:2402.01306), on the choice of weights.
        """
        flags = [bool(row["flag"]) for row in rows]
        num_good, num_bad = sum(flags), len(flags) - sum(flags)
        if not num_good or not num_bad:
            return text("training.kto_one_kind", good=num_good, bad=num_bad)
        ratio = num_good * self.good_weight / (num_bad * self.bad_weight)
        if MOST_APART >= ratio >= 1 / MOST_APART:
            return ""
        suited = f"{num_bad * self.bad_weight / num_good:.3g}"
        shown = f"{ratio:.2g}"
        return text("training.kto_weights", good=num_good, bad=num_bad, ratio=shown, suited=suited)


class RewardLoss(PairLoss):
    """Learn a score for answers: what chosen ones have more of than rejected ones."""

    implementation: ClassVar[str] = f"{_JUDGED}.reward:RewardObjective"
    makes: ClassVar[str] = "reward"
    lr_factor: ClassVar[float] = 1.0

    kind: Literal["reward"] = "reward"
    """Name of this objective."""
    centring: float = Field(0.01, ge=0)
    """Weight of the squared sum of a pair's scores, which keeps them around 0. Only differences
    are learned from pairs; without it scores drift."""
