"""What can be set about `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from llmwright.core.config import Choice, Config, Kind
from llmwright.core.errors import ConfigError
from llmwright.core.hardware import num_cores
from llmwright.core.registry import Registry
from llmwright.training.config import TrainConfig
from llmwright.tuning import space
from llmwright.tuning.domains import Domain, flat_space

_CONFIG = "llmwright.tuning.config"

# `build(seed)` returns an Optuna sampler; one is built for each trial.
SAMPLERS: Registry[type[SamplerKind]] = Registry(
    "sampler",
    {
        "tpe": f"{_CONFIG}:Tpe",
        "random": f"{_CONFIG}:Random",
        "grid": f"{_CONFIG}:Grid",
        "cmaes": f"{_CONFIG}:CmaEs",
    },
)

# `build()` returns an Optuna pruner.
PRUNERS: Registry[type[Kind]] = Registry(
    "pruner",
    {
        "none": f"{_CONFIG}:NoPruner",
        "median": f"{_CONFIG}:Median",
        "hyperband": f"{_CONFIG}:Hyperband",
    },
)


class SamplerKind(Kind):
    """How the values of the next trial are chosen.

    Attributes:
        on_grid: Whether all combinations of finitely many values are tried.
        ranges_only: Whether it can only vary ranges, at least two of them.
    """

    on_grid: ClassVar[bool] = False
    ranges_only: ClassVar[bool] = False


class Tpe(SamplerKind):
    """Tree-structured Parzen estimator: more trials where good ones were (Bergstra et al. 2011)."""

    implementation: ClassVar[str] = "llmwright.tuning.methods:tpe"

    kind: Literal["tpe"] = "tpe"
    """Name of this sampler."""
    num_startup: int = Field(10, ge=1)
    """Trials by chance before it begins to learn from them."""


class Random(SamplerKind):
    """Every trial by chance."""

    implementation: ClassVar[str] = "llmwright.tuning.methods:random"

    kind: Literal["random"] = "random"
    """Name of this sampler."""


class Grid(SamplerKind):
    """Every combination once, in a shuffled order."""

    # Its points are enqueued; nothing is left to chance.
    implementation: ClassVar[str] = "llmwright.tuning.methods:random"
    on_grid: ClassVar[bool] = True

    kind: Literal["grid"] = "grid"
    """Name of this sampler."""


class CmaEs(SamplerKind):
    """Covariance matrix adaptation (Hansen 2016), for ranges that depend on each other."""

    implementation: ClassVar[str] = "llmwright.tuning.methods:cma_es"
    ranges_only: ClassVar[bool] = True

    kind: Literal["cmaes"] = "cmaes"
    """Name of this sampler."""
    num_startup: int = Field(1, ge=1)
    """Trials by chance before it begins."""


class NoPruner(Kind):
    """Every trial runs to its end."""

    implementation: ClassVar[str] = "llmwright.tuning.methods:no_pruner"

    kind: Literal["none"] = "none"
    """Name of this pruner."""


class Median(Kind):
    """Ends a trial whose best result so far is worse than half of the others at that moment."""

    implementation: ClassVar[str] = "llmwright.tuning.methods:median"

    kind: Literal["median"] = "median"
    """Name of this pruner."""
    num_startup: int = Field(5, ge=1)
    """Trials that run to their end before any is pruned."""
    num_warmup: int = Field(1, ge=0)
    """Evaluations (folds, when cross-validated) of each trial that never end it."""


class Hyperband(Kind):
    """Halves the field again and again, from several beginnings (Li et al. 2018)."""

    implementation: ClassVar[str] = "llmwright.tuning.methods:hyperband"

    kind: Literal["hyperband"] = "hyperband"
    """Name of this pruner."""
    min_evaluations: int = Field(1, ge=1)
    """Evaluations (folds, when cross-validated) that every trial gets."""
    reduction_factor: int = Field(3, ge=2)
    """One in this many goes on at each stage."""


class TuneConfig(Config):
    """Search for the settings of `train` that make the best model, and keep that model."""

    extended_by: ClassVar[tuple[str, ...]] = ("num_trials", "max_minutes", "num_parallel")

    train: TrainConfig = TrainConfig()
    """Settings of `train` that all trials share. In the project file they are those of the section
    `train`, which then does not run alone; what stands here is laid over it."""
    space: Annotated[dict[str, Domain], BeforeValidator(flat_space)]
    """What is varied: setting → values, as in {train.lr: {log: [1e-5, 1e-3]}, train.batch_size:
    {int: [8, 64], step: 8}, train.optimizer: {choices: [adamw, sgd]}}. Ranges are float, log, int
    and log_int; num says how many values of a range the sampler grid tries."""
    sampler: Annotated[SamplerKind, Choice(SAMPLERS)] = Tpe()
    """How values are chosen: `tpe` learns from earlier trials and suits most searches, `random`
    does not, `grid` tries all combinations, `cmaes` suits several ranges and many trials."""
    pruner: Annotated[Kind, Choice(PRUNERS)] = Median()
    """When a bad trial is ended early: `median`, `hyperband` or `none`. It looks at each evaluation
    on the validation split, or at each fold."""
    num_trials: int | None = Field(None, ge=1)
    """Trials, the pruned and failed ones included; a trial that was interrupted is repeated and
    counts once. With more than last time the search goes on from the trials that are there. When
    neither this nor `max_minutes` is given, 20, or all points of a grid."""
    max_minutes: float | None = Field(None, gt=0)
    """Minutes after which no trial begins; those that run are finished. The time before an
    interruption counts."""
    num_folds: int | None = Field(None, ge=2)
    """Judge each trial by cross-validation over the training rows: so many trainings, each
    validated on its own fold. The best settings are then trained on all training rows. When not
    given, trials are judged on the validation split."""
    num_parallel: int = Field(1, ge=1)
    """Trials that run at the same time, each in a process of its own with its share of the
    processor's cores; memory, and a GPU, they share. Only searches of one at a time repeat
    exactly."""
    seed: int = Field(42, ge=0)
    """Seed of the search and of the folds; training has its own, the same in each trial."""

    def takes_newest(self, field: str) -> bool:
        """Say what the settings of `train` say."""
        return self.train.takes_newest(field.removeprefix("train."))

    def deciding(self) -> dict[str, Any]:
        """Return all settings, those of `train` as it says itself."""
        return super().deciding() | {"train": self.train.deciding()}

    def local_files(self, root: Path) -> list[Path]:
        """Return the files that training reads."""
        return self.train.local_files(root)

    @model_validator(mode="after")
    def _space_fits(self) -> Self:
        nodes = getattr(self.train.runtime, "num_nodes", 1)
        if nodes > 1:
            raise ConfigError("TUNE-012", where="tune.train.runtime.num_nodes", nodes=nodes)
        space.check(self.train, self.space)
        if self.sampler.on_grid:
            space.check_grid(self.space)
        if self.sampler.ranges_only:
            space.check_ranges(self.space, self.sampler.kind)
        return self

    def point(self, values: dict[str, Any]) -> TrainConfig:
        """Return the settings of a trial; beside others it has its share of the cores.

        Args:
            values: Setting of the space → value, as a study keeps it.
        """
        decoded = {key: self.space[key].decode(value) for key, value in values.items()}
        runtime = self.train.runtime.model_dump()
        if self.num_parallel > 1 and runtime.get("num_threads", 1) is None:
            beside = self.num_parallel * (runtime.get("num_processes") or 1)
            threads = max(1, num_cores() // beside)
            decoded.setdefault("train.runtime.num_threads", threads)
        return space.laid_over(self.train, decoded)
