"""The search itself: trials begin while the budget lasts, and only the best model stays."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError
from llmwright.core.events import Emit, Event, Progress
from llmwright.core.locale import text
from llmwright.core.runs import Run, discard_checkpoints
from llmwright.training.config import TrainConfig
from llmwright.tuning.study import Study
from llmwright.tuning.trial import Assignment, Outcome
from llmwright.tuning.workers import Workers

TRIALS = "trials"


class Search:
    """Goes through the trials of a study.

    Args:
        study: Chooses and remembers.
        workers: Perform.
        inputs: Field of `train` → artifact.
        folds: Datasets of a cross-validation; none: trials use the dataset itself.
        run: Gets the events; its folder takes those of the trials.
    """

    def __init__(
        self,
        study: Study,
        workers: Workers,
        inputs: Mapping[str, Artifact],
        folds: Sequence[Artifact],
        run: Run,
    ) -> None:
        self._study, self._workers, self._run = study, workers, run
        self._inputs = {name: str(artifact.path) for name, artifact in inputs.items()}
        self._folds = [str(fold.path) for fold in folds]
        self._folder = run.folder / TRIALS
        self._folder.mkdir(exist_ok=True)
        self._warned: set[str] = set()

    @staticmethod
    def shown(run: Run) -> Emit:
        """Return what shows of a trial's events how far its training is."""

        def emit(event: Event) -> None:
            if isinstance(event, Progress) and event.stage == "train":
                run.emit(event)

        return emit

    def go(self) -> None:
        """Work through the budget.

        Raises:
            StoppedError: The user asked to stop (``CORE-060``).
            CheckError: The first trials all failed (``TUNE-011``).
        """
        study, workers, config = self._study, self._workers, self._study.config
        wanted = study.num_wanted()
        self._tidy()
        if study.ended:
            self._run.notice(text("tuning.resumed", count=len(study.ended)))
        budget = "" if wanted is None else text("tuning.of_trials", count=wanted)
        sentence = text(
            "tuning.start",
            budget=budget,
            metric=study.goal.metric,
            sampler=config.sampler.kind,
            pruner=config.pruner.kind,
        )
        self._run.notice(sentence)
        self._progress()
        while True:
            while workers.num_busy < config.num_parallel and not study.is_over():
                if self._run.should_stop():
                    raise self._run.stop()
                self._begin()
            if not workers.num_busy:
                return
            self._end(*workers.wait())

    def _begin(self) -> None:
        number, values, repeats = self._study.begin()
        folder = self._folder / str(number)
        if repeats is not None and (self._folder / str(repeats)).is_dir():
            # Its checkpoints and evaluations are those of the very same training.
            (self._folder / str(repeats)).rename(folder)
        folder.mkdir(exist_ok=True)
        work = Assignment(
            number=number,
            run=f"{self._run.id}-trial-{self._study.place(number)}",
            config=kept_curves(self._study.config.point(values), self._run).model_dump(mode="json"),
            inputs=self._inputs,
            folds=self._folds,
            goal={"metric": self._study.goal.metric},
            folder=str(folder),
            root=str(self._run.root),
        )
        self._workers.start(work)

    def _end(self, number: int, outcome: Outcome) -> None:
        before = self._study.best
        self._study.end(number, outcome)
        best = self._study.best
        for trial in {number, *([before.number] if before else [])}:
            if best is None or trial != best.number:
                shutil.rmtree(self._folder / str(trial), ignore_errors=True)
        # Of the best its model stays.
        discard_checkpoints(self._folder / str(number))
        self._say(number, outcome)
        if self._study.is_hopeless():
            raise nothing_found(self._study)

    def _tidy(self) -> None:
        """Remove what an ended process could not: models of trials that are not the best."""
        best = self._study.best
        lost = self._study.lost
        for folder in self._folder.iterdir():
            number = int(folder.name)
            if number not in lost and (best is None or number != best.number):
                shutil.rmtree(folder)

    def _progress(self) -> None:
        study, wanted = self._study, self._study.num_wanted()
        values = {} if study.best is None else {f"best_{study.goal.metric}": study.best.value}
        shown = {name: value for name, value in values.items() if value is not None}
        self._run.progress("tune", len(study.ended), wanted, "trials", **shown)

    def _say(self, number: int, outcome: Outcome) -> None:
        """Say how a trial ended, which is the best, and how long the rest may take."""
        study, best = self._study, self._study.best
        self._progress()
        for sentence in outcome.warnings:
            # Most are about the data, the same in every trial.
            if sentence not in self._warned:
                self._run.notice(sentence, "warning")
            self._warned.add(sentence)
        metric = study.goal.metric
        wanted = study.num_wanted()
        ended = text(
            f"tuning.{outcome.state}",
            number=study.place(number),
            metric=metric,
            value=f"{outcome.metrics.get(metric, 0):.4g}",
            seconds=f"{outcome.seconds:.1f}",
            error=outcome.error,
        )
        known = (
            ""
            if best is None
            else text("tuning.best", number=study.place(best.number), value=f"{best.value:.4g}")
        )
        left = self._seconds_left()
        rest = "" if left is None else text("tuning.left", time=_time(left))
        count = f"{len(study.ended)}/{wanted}" if wanted else f"{len(study.ended)}"
        sentence = text("tuning.ended", count=count, ended=ended, best=known, left=rest)
        self._run.notice(sentence, "warning" if outcome.error else "info")

    def _seconds_left(self) -> float | None:
        """Return about how long the rest takes; None where that is not known or nothing is left."""
        study, config = self._study, self._study.config
        limits = []
        wanted = study.num_wanted()
        if wanted is not None:
            pace = study.seconds / max(1, len(study.ended))
            limits.append(pace * (wanted - len(study.ended)))
        if config.max_minutes is not None:
            limits.append(config.max_minutes * 60 - study.seconds)
        left = min(limits)
        return left if left > 0 else None


def kept_curves(config: TrainConfig, run: Run) -> TrainConfig:
    """Return settings of a training whose sinks write where it stays when its folder goes."""
    sinks = [
        sink.model_copy(update={"folder": str(run.folder / sink.kind)})
        if getattr(sink, "folder", "") is None
        else sink
        for sink in config.sinks
    ]
    return config.model_copy(update={"sinks": sinks})


def nothing_found(study: Study) -> CheckError:
    """Return the error of a search without a single complete trial."""
    reasons = [trial.user_attrs.get("error") for trial in study.ended]
    first = next((reason for reason in reasons if reason), "-")
    return CheckError("TUNE-011", count=len(study.ended), reason=first)


def _time(seconds: float) -> str:
    if seconds < 100:
        return text("tuning.seconds", count=f"{seconds:.0f}")
    return text("tuning.minutes", count=f"{seconds / 60:.0f}")
