"""One trial: the operation `train` with other settings, followed and judged while it works.

With folds it is one training per fold. Everything it leaves lies in its own folder, so that a trial
that was interrupted goes on from its checkpoints.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from llmwright.core import files
from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import LLMwrightError, ResourceError, StoppedError
from llmwright.core.events import Emit, Event, EventFile, Metric, Notice, read_events
from llmwright.core.runs import Run, discard_checkpoints
from llmwright.training.config import TrainConfig

EVENTS_FILE = "events.jsonl"
RESULT_FILE = "result.json"
# Below a trial's folder: where its model lies until another trial is better.
STORE = "store"
# What no other settings mend: the disk.
HOPELESS = ("CORE-020", "CORE-021")

State = Literal["complete", "pruned", "failed"]
# Takes the number of an evaluation, from 1, and its value; says whether to end the trial.
Judge = Callable[[int, float], bool]


@dataclass(frozen=True)
class Goal:
    """What trials are compared by.

    Attributes:
        metric: Name of a figure on the validation split.
        direction: Which values are better.
    """

    metric: str
    direction: Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Assignment:
    """The work of one trial; paths as text, so that it can be sent to another process.

    Attributes:
        number: Of the trial.
        run: Name of the trial's runs, for whoever follows them.
        config: Settings of `train`.
        inputs: Field of `train` → folder of the artifact.
        folds: Folders of the datasets to train on, one after the other; none: the input itself.
        goal: Name and direction.
        folder: Where the trial works.
        root: The project's root.
    """

    number: int
    run: str
    config: dict[str, Any]
    inputs: dict[str, str]
    folds: list[str]
    goal: dict[str, str]
    folder: str
    root: str


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: Complete, pruned or failed.
        seconds: How long it took now.
        metrics: Figures of the best evaluation; means over the folds.
        folds: The goal's value of each fold.
        error: Why it failed.
        warnings: What the training warned of.
    """

    state: State
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    folds: list[float] = field(default_factory=list)
    error: str = ""
    warnings: list[str] = field(default_factory=list)


class Pruned(Exception):
    """The trial is not worth going on with."""


class Evaluations:
    """Follows the evaluations of one training and lets each be judged once.

    Args:
        metric: What is judged.
        judge: Is asked after each.
        events: Events of an earlier process that began this training.

    Raises:
        Pruned: The judge says so of the last of those.
    """

    def __init__(self, metric: str, judge: Judge, events: Path) -> None:
        self._metric, self._judge = metric, judge
        self._known: dict[int, float] = {}
        for _, event in read_events(events):
            self._note(event)
        ends = False
        for number, step in enumerate(sorted(self._known), 1):
            ends = judge(number, self._known[step])
        if ends:
            # It was interrupted between its last evaluation and what that was judged to mean.
            raise Pruned

    def _note(self, event: Event) -> int | None:
        """Keep an evaluation; return its step, None for any other event."""
        if not isinstance(event, Metric):
            return None
        if (event.split, event.name) != ("validation", self._metric):
            return None
        self._known[event.step] = event.value
        return event.step

    def __call__(self, event: Event) -> None:
        """Take an event.

        Raises:
            Pruned: The judge says so.
        """
        step = self._note(event)
        if step is None:
            return
        if self._judge(sorted(self._known).index(step) + 1, self._known[step]):
            raise Pruned


def perform(work: Assignment, emit: Emit, judge: Judge) -> Outcome:
    """Train as assigned and return how that ended.

    Args:
        work: What to do.
        emit: Receives the events of the training.
        judge: Says after each evaluation (each fold) whether to end it.

    Raises:
        StoppedError: The user stopped it; its checkpoint is kept.
        ResourceError: The disk is full or cannot be written (``CORE-020``, ``CORE-021``).
    """
    started = time.monotonic()
    state: State = "failed"
    found: dict[str, Any] = {}
    # As keys, each once and in their order.
    warnings: dict[str, None] = {}

    def listen(event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning":
            warnings[event.text] = None
        emit(event)

    try:
        found = _cross_validate(work, listen, judge) if work.folds else _train(work, listen, judge)
        value = found["metrics"].get(work.goal["metric"], math.nan)
        if math.isfinite(value):
            state = "complete"
        else:
            found["error"] = f"{work.goal['metric']} = {value}"
    except Pruned:
        state = "pruned"
    except StoppedError:
        raise
    except ResourceError as error:
        if error.code in HOPELESS:
            raise
        found = {"error": str(error)}
    except LLMwrightError as error:
        found = {"error": str(error)}
    except Exception as error:  # a library's own; what it means for other settings nobody knows
        found = {"error": f"{type(error).__name__}: {error}"}
    return Outcome(state, time.monotonic() - started, warnings=list(warnings), **found)


def _train(work: Assignment, emit: Emit, judge: Judge) -> dict[str, Any]:
    folder = Path(work.folder)
    evaluations = Evaluations(work.goal["metric"], judge, folder / EVENTS_FILE)
    artifact = _train_in(work, folder, {}, emit, evaluations)
    return {"metrics": _metrics(artifact)}


def _cross_validate(work: Assignment, emit: Emit, judge: Judge) -> dict[str, Any]:
    """Train on each fold's rows; the judge sees the mean of the folds so far."""
    metric = work.goal["metric"]
    found: list[dict[str, float]] = []
    for number, dataset in enumerate(work.folds, 1):
        folder = Path(work.folder) / f"fold-{number}"
        result = folder / RESULT_FILE
        if not result.is_file():
            # To whoever keeps curves, each fold is a training of its own.
            part = replace(work, run=f"{work.run}-fold-{number}")
            metrics = _metrics(_train_in(part, folder, {"dataset": dataset}, emit))
            # Models of folds are only measured; what they were is gone with the fold.
            shutil.rmtree(folder / STORE)
            files.write_json(result, metrics)
            discard_checkpoints(folder)
        found.append(files.read_json(result))
        values = [one[metric] for one in found]
        if judge(number, sum(values) / len(values)) and number < len(work.folds):
            raise Pruned
    # A source that is not in every fold has no mean; steps of several trainings have no sense.
    names = [name for name in found[0] if all(name in one for one in found) and name != "step"]
    means = {name: sum(one[name] for one in found) / len(found) for name in names}
    return {"metrics": means, "folds": [one[metric] for one in found]}


def _train_in(work: Assignment, folder: Path, inputs: dict[str, str], *consumers: Emit) -> Artifact:
    from llmwright.training.train import train

    folder.mkdir(parents=True, exist_ok=True)
    opened = {name: Artifact.open(Path(p)) for name, p in (work.inputs | inputs).items()}
    run = Run(work.run, folder, Path(work.root), Store(folder / STORE))
    with EventFile(folder / EVENTS_FILE) as kept:
        # Kept before it is judged: who interrupts us here must not make us forget it.
        run.follow(kept)
        for consumer in consumers:
            run.follow(consumer)
        return train(TrainConfig.model_validate(work.config), opened, run)


def _metrics(artifact: Artifact) -> dict[str, float]:
    """Return the figures of the best evaluation, and its step."""
    found = artifact.metadata.items()
    return {k.removeprefix("best_"): float(v) for k, v in found if k.startswith("best_")}
