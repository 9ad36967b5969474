"""How long a run will take, from a few of its own steps, evaluations and checkpoints."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmwright.core.runs import Run
from llmwright.inference.probes import record_probes
from llmwright.training.checkpoints.store import Checkpoints
from llmwright.training.config import TrainConfig
from llmwright.training.following.validation import Validation
from llmwright.training.loop import Group, Trainee, groups, one_step
from llmwright.training.save import save_weights
from llmwright.training.setup import Material
from llmwright.training.state import State
from llmwright.training.train import default_interval

# Lengths decide what a step takes: steps are measured at the middles of so many equal parts of all
# steps, by size.
NUM_STRATA = 6
NUM_WARM_UP = 2
# One look at each stratum, then more until this much time has passed.
MEASURING_SECONDS = 12.0
MOST_LOOKS = 5
# An evaluation that takes longer is not made, but reckoned from steps: forward is a third of one.
EVALUATION_SECONDS = 6.0
FORWARD_SHARE = 1 / 3
NUM_PROBES = 8
# No two runs take the same time, whatever was measured.
LEAST_SPREAD = 0.1


@dataclass(frozen=True)
class Pace:
    """How long each part of a run takes, in seconds.

    Attributes:
        start: Reading, encoding and building, before the first step.
        step: A mean optimizer step.
        steps: All of them.
        evaluations: All of them.
        checkpoints: What the loop waits for them.
        finish: Saving the model and recording its probes.
        spread: How far the truth may be from that, as a share.
        num_steps: Optimizer steps of the run.
        num_evaluations: Evaluations on the validation split.
        tokens_per_second: Real tokens, padding not counted.
        measured: Steps that were made to find out.
    """

    start: float
    step: float
    steps: float
    evaluations: float
    checkpoints: float
    finish: float
    spread: float
    num_steps: int
    num_evaluations: int
    tokens_per_second: float
    measured: int

    @property
    def total(self) -> float:
        """All parts together."""
        return self.start + self.steps + self.evaluations + self.checkpoints + self.finish


@dataclass(frozen=True)
class Disk:
    """What a run writes, in bytes.

    Attributes:
        checkpoints: At most, while it runs: two complete ones, and the best weights.
        artifact: The model in the end.
        free: Of the file system it goes to.
    """

    checkpoints: int
    artifact: int
    free: int


def measure_steps(trainee: Trainee, run: Run) -> tuple[float, float, float, int]:
    """Return seconds of a mean step, its spread as a share, seconds of a new shape, steps made.

    A batch of a shape that was not there yet takes longer: kernels are compiled for it.

    The trainee learns: it is of no use afterwards.
    """
    every = [group for group, _, _ in groups(trainee, State())]
    size_of = [sum(trainee.batches.num_places(batch) for batch in group) for group in every]
    order = np.argsort(size_of, kind="stable")
    parts = [part for part in np.array_split(order, min(NUM_STRATA, len(every))) if len(part)]
    middles = [int(part[len(part) // 2]) for part in parts]
    shares = np.array([len(part) for part in parts]) / len(every)
    for number in range(NUM_WARM_UP):
        timed(trainee, every[middles[-1 - number % len(middles)]])
    seconds: list[list[float]] = []
    started = time.monotonic()
    while len(seconds) < MOST_LOOKS and (
        not seconds or time.monotonic() - started < MEASURING_SECONDS
    ):
        run.progress("plan_steps", len(seconds), None, "steps")
        seconds.append([timed(trainee, every[index]) for index in middles])
    first, later = np.array(seconds[0]), np.array(seconds[1:] or seconds)
    means = later @ shares
    mean = float(np.median(means))
    new_shape = max(0.0, float((first - np.median(later, axis=0)).mean()))
    spread = float(means.std() / mean) if len(means) > 1 else 0.0
    return mean, max(LEAST_SPREAD, spread), new_shape, len(seconds) * len(middles)


def timed(trainee: Trainee, group: Group) -> float:
    """Return the seconds of one optimizer step."""
    started = time.perf_counter()
    result = one_step(trainee, State(), group)
    if result is not None:
        # Where a GPU works by itself, its result is waited for.
        float(result.loss)
    return time.perf_counter() - started


def measure_evaluation(trainee: Trainee, validation: Validation | None, step: float) -> float:
    """Return the seconds of one evaluation: measured where that is quick, else reckoned."""
    if validation is None:
        return 0.0
    places = sum(trainee.batches.num_places(batch) for batch in trainee.batches.epoch(0))
    steps = math.ceil(trainee.batches.num_batches(0) / trainee.accumulate)
    own = sum(validation.batches.num_places(batch) for batch in validation.batches.epoch(0))
    reckoned = FORWARD_SHARE * step * steps * own / max(1, places)
    if reckoned > EVALUATION_SECONDS:
        return reckoned
    started = time.perf_counter()
    validation.measure(trainee)
    return time.perf_counter() - started


def measure_writing(
    config: TrainConfig, trainee: Trainee, material: Material, folder: Path
) -> tuple[float, float, int, int]:
    """Return seconds the loop waits for a checkpoint, seconds of the end, and sizes of both."""
    kept = folder / "checkpoints"
    with Checkpoints(kept, {}) as checkpoints:
        started = time.perf_counter()
        checkpoints.save(trainee, State(step=1))
        waited = time.perf_counter() - started
        checkpoints.finish()
        checkpoint = size_of(kept)
    artifact = folder / "artifact"
    artifact.mkdir()
    started = time.perf_counter()
    save_weights(trainee.model, material.tokenizer, material.contract, artifact)
    saved = time.perf_counter() - started
    rows = material.probes.rows[:NUM_PROBES]
    started = time.perf_counter()
    record_probes(artifact, rows, material.contract, material.probes.source, len(rows))
    recorded = time.perf_counter() - started
    finish = saved + recorded * math.ceil(len(material.probes.rows) / max(1, len(rows)))
    return waited, finish, checkpoint, size_of(artifact)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def total_steps(trainee: Trainee, step: float) -> int:
    """Return the optimizer steps of a run; of one that is limited by time, as many as fit."""
    budget = trainee.budget
    steps = budget.total_steps(State())
    if budget.max_seconds is not None:
        steps = min(steps, budget.max_seconds / step)
    return max(1, round(steps))


def num_evaluations(config: TrainConfig, trainee: Trainee, steps: int) -> int:
    """Return how often a run is evaluated: at its interval, and after the last step."""
    every = config.evaluate_every_steps or default_interval(config, trainee)
    return steps // every + (steps % every > 0)
