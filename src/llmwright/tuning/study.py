"""The study: Optuna's, in a journal that survives whatever ends the process.

A trial that was running when its process ended is marked as lost and its values are tried again; so
the budget counts it once. Each trial has a sampler of its own, seeded by how many came before: a
search that goes on chooses as one that was never interrupted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import journal
from optuna.trial import FrozenTrial, TrialState

from llmwright.core import files
from llmwright.tuning import space
from llmwright.tuning.config import TuneConfig
from llmwright.tuning.trial import Goal, Outcome

JOURNAL_FILE = "study.jsonl"
NAME = "study"
MAX_FAILURES = 3
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Study:
    """The trials of one search.

    Args:
        config: What is searched.
        goal: What trials are compared by.
        folder: Where the journal lies; what is in it is gone on with.
    """

    def __init__(self, config: TuneConfig, goal: Goal, folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.goal = config, goal
        path = str(folder / JOURNAL_FILE)
        files.drop_cut_line(Path(path))
        # Only the process that holds the run writes here: a lock that is there was left by a kill.
        Path(path + ".lock").unlink(missing_ok=True)
        backend = journal.JournalFileBackend(path, journal.JournalFileOpenLock(path))
        self._study = optuna.create_study(
            storage=journal.JournalStorage(backend),
            study_name=NAME,
            direction=goal.direction,
            pruner=config.pruner.build(),
            sampler=optuna.samplers.RandomSampler(seed=0),
            load_if_exists=True,
        )
        self._grid = space.grid(config.space, config.seed) if config.sampler.on_grid else []
        self._distributions = {key: d.distribution() for key, d in config.space.items()}
        self._running: dict[int, optuna.Trial] = {}
        self._spent = float(self._study.user_attrs.get("seconds", 0.0))
        self._opened = time.monotonic()
        self._give_up_lost()

    def _give_up_lost(self) -> None:
        """Mark the trials of an ended process as lost and enqueue their values again."""
        # Whoever begins again after nothing but failures has mended what was wrong.
        hopeless = self.is_hopeless()
        repeated = {trial.user_attrs.get("repeats") for trial in self._study.get_trials()}
        for trial in self.counted:
            running = trial.state == TrialState.RUNNING
            if not running and not hopeless:
                continue
            # In this order, each step is harmless when it is done again.
            self._study.set_user_attr("lost", sorted({*self.lost, trial.number}))
            if trial.number not in repeated and _chosen(trial):
                self._study.enqueue_trial(_chosen(trial), user_attrs={"repeats": trial.number})
            if running:
                self._study.tell(trial.number, state=TrialState.FAIL)

    def is_hopeless(self) -> bool:
        """Say whether so many trials failed, and none came to its end, that it is no accident."""
        failed = [trial for trial in self.ended if trial.state == TrialState.FAIL]
        return not self.complete and len(failed) >= min(
            MAX_FAILURES, self.num_wanted() or MAX_FAILURES
        )

    @property
    def lost(self) -> list[int]:
        """Numbers of the trials that were interrupted."""
        return list(self._study.user_attrs.get("lost", []))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that began, the lost ones too."""
        return [t for t in self._study.get_trials() if t.state != TrialState.WAITING]

    @property
    def counted(self) -> list[FrozenTrial]:
        """The trials that count for the budget: begun and not lost."""
        lost = set(self.lost)
        return [trial for trial in self.trials if trial.number not in lost]

    def place(self, number: int) -> int:
        """Return which of the trials that count one is, from 1: what people see as its number."""
        return [trial.number for trial in self.counted].index(number) + 1

    @property
    def ended(self) -> list[FrozenTrial]:
        """The trials that count and are over."""
        return [trial for trial in self.counted if trial.state.is_finished()]

    @property
    def complete(self) -> list[FrozenTrial]:
        """The trials that ran to their end."""
        return [trial for trial in self.trials if trial.state == TrialState.COMPLETE]

    @property
    def best(self) -> FrozenTrial | None:
        """The best trial; of equally good ones the one with the smallest loss, or the first."""
        sign = 1 if self.goal.direction == "minimize" else -1

        def rank(trial: FrozenTrial) -> tuple[float, float, int]:
            loss = trial.user_attrs["metrics"].get("loss", 0.0)
            return sign * value_of(trial), loss, trial.number

        return min(self.complete, key=rank, default=None)

    @property
    def seconds(self) -> float:
        """Time spent on the search, that of earlier processes included."""
        return self._spent + time.monotonic() - self._opened

    def num_wanted(self) -> int | None:
        """Return how many trials the budget allows; None where only the time limits them."""
        given = self.config.num_trials
        if self.config.sampler.on_grid:
            return min(len(self._grid), given or len(self._grid))
        return given if given or self.config.max_minutes else 20

    def is_over(self) -> bool:
        """Say whether the budget is used up."""
        wanted, minutes = self.num_wanted(), self.config.max_minutes
        used = wanted is not None and len(self.counted) >= wanted
        return used or (minutes is not None and self.seconds >= minutes * 60)

    def begin(self) -> tuple[int, dict[str, Any], int | None]:
        """Choose the values of the next trial.

        Returns:
            Its number, its values as the study keeps them, and the number of the lost trial that it
            repeats.
        """
        waiting = self._study.get_trials(states=(TrialState.WAITING,))
        if not waiting and self.config.sampler.on_grid:
            self._study.enqueue_trial(next(self._open_points()))
        seed = random.Random(f"trial:{self.config.seed}:{len(self.counted)}").getrandbits(32)
        self._study.sampler = self.config.sampler.build(seed)
        trial = self._study.ask(self._distributions)
        self._running[trial.number] = trial
        return trial.number, trial.params, trial.user_attrs.get("repeats")

    def _open_points(self) -> Iterator[dict[str, Any]]:
        """Yield the points of the grid that no trial has."""
        taken = [_chosen(trial) for trial in self.counted]
        for point in self._grid:
            if point not in taken:
                yield point

    def judge(self, number: int, step: int, value: float) -> bool:
        """Take note of an evaluation and say whether to end the trial.

        Args:
            number: Of the trial.
            step: Of the evaluation, from 1; one that is known already changes nothing.
            value: The goal's.
        """
        trial = self._running[number]
        if step not in self._study.get_trials(deepcopy=False)[number].intermediate_values:
            trial.report(value, step)
            # A trial that is killed has cost its time, too.
            self._study.set_user_attr("seconds", self.seconds)
        return trial.should_prune()

    def end(self, number: int, outcome: Outcome) -> None:
        """Write down how a trial ended."""
        trial = self._running.pop(number)
        for name in ("metrics", "folds", "seconds", "error"):
            trial.set_user_attr(name, getattr(outcome, name))
        self._study.set_user_attr("seconds", self.seconds)
        complete = outcome.state == "complete"
        value = outcome.metrics[self.goal.metric] if complete else None
        self._study.tell(trial, value, state=STATES[outcome.state])

    def importances(self) -> dict[str, float]:
        """Return how much each setting decided, as shares of 1, the largest first.

        Nothing where fewer than four trials are complete, or all are equally good.

        Source: functional ANOVA (Hutter, Hoos and Leyton-Brown 2014).
        """
        if len(self.complete) < 4 or len({value_of(trial) for trial in self.complete}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        try:
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except RuntimeError:
            # No setting tells the trials apart: they have the same values and differ by chance.
            return {}
        return {name: float(share) for name, share in found.items()}


def _chosen(trial: FrozenTrial) -> dict[str, Any]:
    """Return the values of a trial, also of one that ended before it had noted them all."""
    return dict(trial.system_attrs.get("fixed_params") or trial.params)


def value_of(trial: FrozenTrial) -> float:
    """Return the value of a complete trial."""
    assert trial.value is not None, f"trial {trial.number} is complete without a value"
    return trial.value
