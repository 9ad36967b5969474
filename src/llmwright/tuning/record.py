"""What a search found, as plain records that become ``study.json`` and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from optuna.trial import FrozenTrial

from llmwright.core.artifacts import Artifact
from llmwright.tuning.config import TuneConfig
from llmwright.tuning.study import Study
from llmwright.tuning.trial import Goal

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: From 1, in the order they began.
        state: ``complete``, ``pruned`` or ``failed``.
        value: What it is compared by; of a pruned one the last it had, None where it has none.
        values: Setting of the space → value.
        config: All settings of the training.
        metrics: Figures of its best evaluation; means over the folds.
        folds: The value of each fold.
        evaluations: The value at each evaluation (after each fold), by its number from 1.
        error: Why it failed.
    """

    number: int
    state: str
    value: float | None
    values: dict[str, Any]
    config: dict[str, Any]
    metrics: dict[str, float]
    folds: list[float]
    evaluations: dict[int, float]
    error: str


@dataclass(frozen=True)
class StudyRecord:
    """Everything one search found.

    Attributes:
        goal: What trials were compared by.
        sampler: How values were chosen.
        pruner: How bad trials were ended.
        seed: Of the search.
        num_folds: Folds of the cross-validation, None without.
        space: Setting → its values, as they were given.
        trials: All trials, in order; those that an interruption ended were repeated and are left
            out, so that an interrupted search is the same study as a whole one.
        best: Number of the best one.
        model: Id of its model.
        importances: How much each setting decided, the largest first; empty where too few trials
            say so.
    """

    goal: Goal
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    seed: int
    num_folds: int | None
    space: dict[str, dict[str, Any]]
    trials: list[TrialRecord]
    best: int
    model: str
    importances: dict[str, float]

    def num(self, state: str) -> int:
        """Return how many trials ended so."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def best_trial(self) -> TrialRecord:
        """The best one."""
        return next(trial for trial in self.trials if trial.number == self.best)


def shown(value: Any) -> str:
    """Return a setting's value as people read it."""
    if isinstance(value, dict | list):
        # As one would write it in the project file.
        return yaml.safe_dump(
            value, default_flow_style=True, width=1000, allow_unicode=True
        ).strip()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def record_of(config: TuneConfig, study: Study, model: Artifact) -> StudyRecord:
    """Return what a finished search found."""
    assert study.best is not None
    return StudyRecord(
        goal=study.goal,
        sampler=config.sampler.model_dump(mode="json"),
        pruner=config.pruner.model_dump(mode="json"),
        seed=config.seed,
        num_folds=config.num_folds,
        space={key: domain.model_dump(exclude_none=True) for key, domain in config.space.items()},
        trials=[_trial(config, trial, number) for number, trial in enumerate(study.counted, 1)],
        best=study.place(study.best.number),
        model=model.id,
        importances=study.importances(),
    )


def _trial(config: TuneConfig, trial: FrozenTrial, number: int) -> TrialRecord:
    known = trial.user_attrs
    return TrialRecord(
        number=number,
        state=STATES[trial.state.name],
        value=trial.value,
        values={key: config.space[key].decode(kept) for key, kept in trial.params.items()},
        config=config.point(trial.params).model_dump(mode="json"),
        metrics=known.get("metrics", {}),
        folds=known.get("folds", []),
        evaluations=dict(sorted(trial.intermediate_values.items())),
        error=known.get("error", ""),
    )
