"""Optimizers and schedules: how gradients become steps, and how large."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from llmwright.core.config import Kind
from llmwright.core.locale import text
from llmwright.core.registry import Registry

if TYPE_CHECKING:
    from typing import Self

_CONFIG = "llmwright.training.optimizers.config"

# `build(groups, lr)` returns a torch optimizer; groups carry their own weight decay.
OPTIMIZERS: Registry[type[Kind]] = Registry(
    "optimizer",
    {
        "adamw": f"{_CONFIG}:AdamW",
        "adamw_8bit": f"{_CONFIG}:AdamW8bit",
        "adam": f"{_CONFIG}:Adam",
        "sgd": f"{_CONFIG}:SGD",
        "rmsprop": f"{_CONFIG}:RMSprop",
        "adagrad": f"{_CONFIG}:Adagrad",
        "adafactor": f"{_CONFIG}:Adafactor",
    },
)

# A kind's `factor(done)` is the share of the learning rate after warm-up.
SCHEDULES: Registry[type[ScheduleKind]] = Registry(
    "schedule",
    {
        "constant": f"{_CONFIG}:Constant",
        "linear": f"{_CONFIG}:Linear",
        "cosine": f"{_CONFIG}:Cosine",
        "step": f"{_CONFIG}:Step",
        "exponential": f"{_CONFIG}:Exponential",
        "polynomial": f"{_CONFIG}:Polynomial",
    },
)


class AdamW(Kind):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    implementation: ClassVar[str] = "llmwright.training.optimizers.build:adamw"

    kind: Literal["adamw"] = "adamw"
    """Name of this optimizer."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.99, ge=0, lt=1)
    """Decay of the mean of squared gradients; 0.99 follows small models quicker than 0.999."""
    eps: float = Field(1e-8, gt=0)
    """Added to the denominator, so that tiny gradients do not make huge steps."""


class AdamW8bit(AdamW):
    """AdamW whose two means are kept in 8 bits (Dettmers et al. 2022): a quarter of the memory."""

    implementation: ClassVar[str] = "llmwright.training.optimizers.build:adamw_8bit"

    kind: Literal["adamw_8bit"] = "adamw_8bit"  # type: ignore[assignment]
    """Name of this optimizer; it needs a GPU and bitsandbytes."""


class Adam(Kind):
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""

    implementation: ClassVar[str] = "llmwright.training.optimizers.build:adam"

    kind: Literal["adam"] = "adam"
    """Name of this optimizer."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    eps: float = Field(1e-8, gt=0)
    """Added to the denominator, so that tiny gradients do not make huge steps."""


class SGD(Kind):
    """Stochastic gradient descent."""

    implementation: ClassVar[str] = "llmwright.training.optimizers.build:sgd"

    kind: Literal["sgd"] = "sgd"
    """Name of this optimizer."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Share of the step before that is added to each step."""
    nesterov: bool = False
    """Look ahead along the momentum; needs momentum above 0."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError(text("training.nesterov"))
        return self


class RMSprop(Kind):
    """Gradients divided by the root of their running mean square."""

    implementation: ClassVar[str] = "llmwright.training.optimizers.build:rmsprop"

    kind: Literal["rmsprop"] = "rmsprop"
    """Name of this optimizer."""
    alpha: float = Field(0.99, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Share of the step before that is added to each step."""
    eps: float = Field(1e-8, gt=0)
    """Added to the denominator."""


class Adagrad(Kind):
    """Gradients divided by the root of the sum of all their squares; for sparse features."""

    implementation: ClassVar[str] = "llmwright.training.optimizers.build:adagrad"

    kind: Literal["adagrad"] = "adagrad"
    """Name of this optimizer."""
    eps: float = Field(1e-10, gt=0)
    """Added to the denominator."""


class Adafactor(Kind):
    """Adam with factored second moments: hardly any memory of its own (Shazeer and Stern 2018)."""

    implementation: ClassVar[str] = "llmwright.training.optimizers.build:adafactor"

    kind: Literal["adafactor"] = "adafactor"
    """Name of this optimizer."""
    beta2_decay: float = Field(-0.8, le=0)
    """Exponent by which the memory of squared gradients grows with the steps."""
    clip_threshold: float = Field(1.0, ge=1)
    """Largest root mean square of one update."""


class ScheduleKind(Kind):
    """How the learning rate changes; every kind warms up linearly first."""

    warmup_steps: int | None = Field(None, ge=0)
    """Optimizer steps over which the learning rate grows linearly to its full value. When not
    given, `warmup_fraction` decides."""
    warmup_fraction: float = Field(0.03, ge=0, lt=1)
    """Share of the run used for warm-up. A little keeps the first, badly aimed steps small."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate.

        Args:
            done: How much of the run after warm-up is over, 0 to 1.
        """
        return 1.0


class Constant(ScheduleKind):
    """Always the full learning rate."""

    kind: Literal["constant"] = "constant"
    """Name of this schedule."""


class Linear(ScheduleKind):
    """A straight line down."""

    kind: Literal["linear"] = "linear"
    """Name of this schedule."""
    final_fraction: float = Field(0.0, ge=0, le=1)
    """Share of the learning rate that is left at the end."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return 1 - (1 - self.final_fraction) * done


class Cosine(ScheduleKind):
    """Half a cosine down (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    """Name of this schedule."""
    final_fraction: float = Field(0.05, ge=0, le=1)
    """Share of the learning rate that is left at the end."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * done)) / 2


class Step(ScheduleKind):
    """Down by a factor at equal distances."""

    kind: Literal["step"] = "step"
    """Name of this schedule."""
    num_drops: int = Field(2, ge=1)
    """How often the learning rate drops, at equal distances."""
    gamma: float = Field(0.1, gt=0, lt=1)
    """What it is multiplied with at each drop."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return float(self.gamma ** min(self.num_drops, int(done * (self.num_drops + 1))))


class Exponential(ScheduleKind):
    """Down by the same ratio in each step."""

    kind: Literal["exponential"] = "exponential"
    """Name of this schedule."""
    final_fraction: float = Field(0.01, gt=0, le=1)
    """Share of the learning rate that is left at the end."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return float(self.final_fraction**done)


class Polynomial(ScheduleKind):
    """A power of what is left of the run."""

    kind: Literal["polynomial"] = "polynomial"
    """Name of this schedule."""
    power: float = Field(2.0, gt=0)
    """Exponent; 1 is linear, more falls quicker at first."""
    final_fraction: float = Field(0.0, ge=0, le=1)
    """Share of the learning rate that is left at the end."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return float(self.final_fraction + (1 - self.final_fraction) * (1 - done) ** self.power)
