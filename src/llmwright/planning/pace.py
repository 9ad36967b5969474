"""How long a run will take, from a few of its own steps, evaluations and checkpoints."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.inference.proof.probes import record_probes
from llmwright.training.checkpoints.store import Checkpoints
from llmwright.training.config import TrainConfig
from llmwright.training.data.batching import Batches
from llmwright.training.following.validation import Samples, Validation
from llmwright.training.footprint.memory import num_shapes
from llmwright.training.loop import Group, Trainee, groups, one_step
from llmwright.training.save import save_weights
from llmwright.training.setup import Material, Problem
from llmwright.training.state import State
from llmwright.training.train import default_interval, splits_of

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
# Steps are made beside the writing of a checkpoint for at most so long.
WRITING_SECONDS = 5.0
NUM_PROBES = 8
# No two runs take the same time, whatever was measured.
LEAST_SPREAD = 0.1


@dataclass(frozen=True)
class Pace:
    """How long each part of a run takes, in seconds.

    Attributes:
        start: Reading and building, before the first step, and what the model is asked before it
            learns; encoding not counted, which the run finds done.
        step: A mean optimizer step.
        steps: All of them.
        evaluations: All of them.
        samples: Answers to the sample prompts, at each evaluation.
        checkpoints: What the loop waits for them, or is slower beside them.
        finish: Saving the model and recording its probes.
        spread: How far the truth may be from that, as a share.
        others: Share of the processor that other programs used while this was measured.
        num_steps: Optimizer steps of the run.
        num_evaluations: Evaluations on the validation split.
        num_checkpoints: How often a checkpoint is written.
        tokens_per_second: Real tokens, padding not counted.
        measured: Steps that were made to find out.
    """

    start: float
    step: float
    steps: float
    evaluations: float
    samples: float
    checkpoints: float
    finish: float
    spread: float
    others: float
    num_steps: int
    num_evaluations: int
    num_checkpoints: int
    tokens_per_second: float
    measured: int

    @property
    def total(self) -> float:
        """All parts together."""
        beside = self.evaluations + self.samples + self.checkpoints
        return self.start + self.steps + beside + self.finish


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


@dataclass(frozen=True)
class Looks:
    """What steps took that were made to find out, in seconds.

    Attributes:
        step: A mean step.
        spread: How far the steps of different looks are apart, as a share.
        first: What the first steps of all take longer: memory and programs come into being.
        new_shape: What a step takes longer for each batch of a shape that was not there yet.
        others: Share of the processor that other programs used meanwhile.
        num_steps: How many were made.
    """

    step: float
    spread: float
    first: float
    new_shape: float
    others: float
    num_steps: int


class OtherPrograms:
    """Measures, from its making on, which share of the processor is used by other programs."""

    def __init__(self) -> None:
        self._begun = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Return seconds of all cores: all, those that were used, and those that we used."""
        found = psutil.cpu_times()
        whole = sum(found)
        # Linux counts the time of guests twice, once as a user's.
        whole -= getattr(found, "guest", 0.0) + getattr(found, "guest_nice", 0.0)
        own = psutil.Process().cpu_times()
        idle = found.idle + getattr(found, "iowait", 0.0)
        return whole, whole - idle, own.user + own.system

    def share(self) -> float:
        """Return the share until now."""
        pairs = zip(self._read(), self._begun, strict=True)
        whole, used, own = (now - before for now, before in pairs)
        return max(0.0, min(1.0, (used - own) / whole)) if whole > 0 else 0.0


def measure_steps(trainee: Trainee, run: Run, max_tokens: int | None = None) -> Looks:
    """Return what steps take; the trainee learns, and is of no use afterwards.

    Args:
        trainee: Before its first step.
        run: Is told how far it is.
        max_tokens: Most tokens of a micro-batch; None for whole batches.
    """
    every = [group for group, _, _ in groups(trainee, State())]
    places = [sum(trainee.batches.num_places(batch) for batch in group) for group in every]
    order = np.argsort(places, kind="stable")
    parts = [part for part in np.array_split(order, min(NUM_STRATA, len(every))) if len(part)]
    middles = [every[int(part[len(part) // 2])] for part in parts]
    shares = np.array([len(part) for part in parts]) / len(every)
    beside = OtherPrograms()
    warmed = [middles[-1 - number % len(middles)] for number in range(NUM_WARM_UP)]
    warm_up = [timed(trainee, group, max_tokens) for group in warmed]
    seconds: list[list[float]] = []
    started = time.monotonic()
    while len(seconds) < MOST_LOOKS and (
        not seconds or time.monotonic() - started < MEASURING_SECONDS
    ):
        run.progress("plan_steps", len(seconds), None, "steps")
        seconds.append([timed(trainee, group, max_tokens) for group in middles])
    first, later = np.array(seconds[0]), np.array(seconds[1:] or seconds)
    usual = np.median(later, axis=0)
    means = later @ shares
    mean = float(np.median(means))
    # On a GPU they are hardly in the way.
    others = beside.share() if trainee.runtime.device.type == "cpu" else 0.0
    spread = float(means.std() / mean) if len(means) > 1 else 0.0
    # When they end, or more come, it is another time.
    spread = max(LEAST_SPREAD, spread, others)
    new = new_shapes(trainee, warmed, middles)
    longer = float((first - usual)[new > 0].sum() / max(1, new.sum()))
    begun = warm_up[0] - float(usual[-1])
    num_steps = len(seconds) * len(middles)
    return Looks(mean, spread, max(0.0, begun), max(0.0, longer), others, num_steps)


def new_shapes(trainee: Trainee, before: list[Group], now: list[Group]) -> np.ndarray:
    """Return of each step how many shapes of batches it is the first to have."""

    def shapes(group: Group) -> set[tuple[int, int]]:
        return {(len(batch), trainee.batches.num_places(batch)) for batch in group}

    known = set().union(*(shapes(group) for group in before))
    found = []
    for group in now:
        found.append(len(shapes(group) - known))
        known |= shapes(group)
    return np.array(found)


def timed(trainee: Trainee, group: Group, max_tokens: int | None = None) -> float:
    """Return the seconds of one optimizer step, in micro-batches of so many tokens at most."""
    started = time.perf_counter()
    result = one_step(trainee, State(micro_batch_tokens=max_tokens), group)
    if result is not None:
        # Where a GPU works by itself, its result is waited for.
        float(result.loss)
    return time.perf_counter() - started


def measure_evaluation(trainee: Trainee, validation: Validation | None, step: float) -> float:
    """Return the seconds of one evaluation: measured where that is quick, else reckoned."""
    if validation is None:
        return 0.0
    reckoned = reckoned_reading(trainee, validation.batches, step)
    if reckoned > EVALUATION_SECONDS:
        return reckoned
    started = time.perf_counter()
    validation.measure(trainee)
    return time.perf_counter() - started


def reckoned_reading(trainee: Trainee, batches: Batches, step: float) -> float:
    """Return the seconds in which a model reads a split once, reckoned from those of a step."""
    places = sum(trainee.batches.num_places(batch) for batch in trainee.batches.epoch(0))
    steps = math.ceil(trainee.batches.num_batches(0) / trainee.accumulate)
    own = sum(batches.num_places(batch) for batch in batches.epoch(0))
    return FORWARD_SHARE * step * steps * own / max(1, places)


def reckoned_reference(trainee: Trainee, validation: Validation | None, step: float) -> float:
    """Return the seconds in which the model is asked what it says before it learns."""
    if not trainee.objective.needs_reference:
        return 0.0
    splits = splits_of(trainee.batches, validation).values()
    return sum(reckoned_reading(trainee, split, step) for split in splits)


def measure_samples(
    config: TrainConfig, problem: Problem, trainee: Trainee, material: Material
) -> float:
    """Return the seconds of answering all sample prompts once.

    A model that has not learned seldom stops by itself, so this is mostly the longest it takes.
    """
    prompts = config.sample_prompts

    def seconds(count: int) -> float:
        started = time.perf_counter()
        samples = Samples(problem.task, material.tokenizer, material.contract, prompts[:count])
        samples.write(trainee)
        return time.perf_counter() - started

    if not prompts:
        return 0.0
    reckoned = seconds(1) * len(prompts)
    return reckoned if reckoned > EVALUATION_SECONDS else seconds(len(prompts))


@dataclass(frozen=True)
class Writing:
    """What writing takes.

    Attributes:
        waited: Seconds that training is longer for a checkpoint.
        checkpoint: Seconds until it is on the disk.
        finish: Seconds of saving the model and recording its probes.
        checkpoint_bytes: Of one checkpoint.
        artifact_bytes: Of the model.
    """

    waited: float
    checkpoint: float
    finish: float
    checkpoint_bytes: int
    artifact_bytes: int


def measure_writing(
    trainee: Trainee, material: Material, folder: Path, max_tokens: int | None = None
) -> Writing:
    """Return what a checkpoint and the end of a run take; ``max_tokens`` as `measure_steps`."""
    kept = folder / "checkpoints"
    with Checkpoints(kept, {}) as checkpoints:
        checkpoints.prepare(trainee)
        checkpoints.finish()
        started = time.perf_counter()
        checkpoints.save(trainee, State(step=1))
        checkpoints.finish()
        written = time.perf_counter() - started
        waited = measure_waiting(trainee, checkpoints, written, max_tokens)
        checkpoints.finish()
        checkpoint_bytes = size_of(kept)
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
    return Writing(waited, written, finish, checkpoint_bytes, size_of(artifact))


def measure_waiting(
    trainee: Trainee, checkpoints: Checkpoints, written: float, max_tokens: int | None = None
) -> float:
    """Return how much longer steps take while a checkpoint is written beside them.

    Args:
        trainee: Learns meanwhile.
        checkpoints: Where to.
        written: Seconds that it takes to write one.
        max_tokens: As `measure_steps`.
    """
    group = next(groups(trainee, State()))[0]
    usual = min(timed(trainee, group, max_tokens) for _ in range(2))
    started, num_steps = time.perf_counter(), 0
    checkpoints.save(trainee, State(step=2))
    begun = passed = time.perf_counter() - started
    while passed < min(written, WRITING_SECONDS) or not num_steps:
        timed(trainee, group, max_tokens)
        num_steps += 1
        passed = time.perf_counter() - started
    return max(begun, passed - num_steps * usual)


def measured_pace(
    config: TrainConfig,
    problem: Problem,
    material: Material,
    trainee: Trainee,
    validation: Validation | None,
    start: float,
    folder: Path,
    run: Run,
    max_tokens: int | None = None,
) -> tuple[Pace, Writing]:
    """Return how long a run takes, and what it writes.

    Args:
        config: What would be trained.
        problem: What is to be learned.
        material: Model and rows.
        trainee: Of no use afterwards.
        validation: None where there is no validation split.
        start: Seconds before the first step.
        folder: Takes a checkpoint and a model.
        run: Gets the progress.
        max_tokens: As `measure_steps`.
    """
    looks = measure_steps(trainee, run, max_tokens)
    if looks.others > LEAST_SPREAD:
        run.notice(text("training.plan_others", share=f"{looks.others:.0%}"), "warning")
    evaluation = measure_evaluation(trainee, validation, looks.step)
    answering = measure_samples(config, problem, trainee, material)
    writing = measure_writing(trainee, material, folder, max_tokens)
    steps = total_steps(trainee, looks.step)
    learning = looks.step * steps + looks.first + looks.new_shape * num_shapes(trainee)
    if trainee.budget.max_seconds is not None:
        # The last step may begin just before.
        learning = min(learning, trainee.budget.max_seconds + looks.step)
    every = config.evaluate_every_steps or default_interval(config, trainee)
    times = num_intervals(steps, every)
    interval = config.checkpoint_every_steps or every
    beside = (evaluation + answering) * interval / every
    kept = num_checkpoints(config, steps, interval, looks.step * interval + beside)
    # One is written at a time: where the next comes earlier, it waits.
    apart = (learning + (evaluation + answering) * times) / kept
    found = Pace(
        start=start + reckoned_reference(trainee, validation, looks.step),
        step=looks.step,
        steps=learning,
        evaluations=evaluation * times,
        samples=answering * times,
        checkpoints=max(writing.waited, writing.checkpoint - apart) * kept,
        finish=writing.finish,
        spread=looks.spread,
        others=looks.others,
        num_steps=steps,
        num_evaluations=times if validation is not None else 0,
        num_checkpoints=kept,
        tokens_per_second=trainee.budget.tokens_per_step / looks.step,
        measured=looks.num_steps,
    )
    return found, writing


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


def num_intervals(steps: int, every: int) -> int:
    """Return how often something is done at an interval, and after the last step."""
    return steps // every + (steps % every > 0)


def num_checkpoints(config: TrainConfig, steps: int, interval: int, seconds: float) -> int:
    """Return how often a run writes a checkpoint: at its interval, and by the clock within it.

    Args:
        config: Says after how many minutes.
        steps: Optimizer steps of the run.
        interval: Steps between checkpoints.
        seconds: How long such an interval takes.
    """
    # The clock begins anew with each checkpoint; one that is due then comes anyway.
    within = max(0, math.ceil(seconds / (60 * config.checkpoint_every_minutes)) - 1)
    return num_intervals(steps, interval) + int(within * steps / interval)
