"""``plan``: what a training run would be, before it is one.

All that is said comes from the code that trains: the same preparation, batches, budget and loop.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.artifacts import Artifact
from llmwright.core.events import Emit, Event, Progress
from llmwright.core.locale import text
from llmwright.core.project import Project
from llmwright.core.runs import Run
from llmwright.planning.pace import Disk, Pace, measured_pace
from llmwright.planning.rows import Reader, ShownRow, StopCheck, check_stops, sample_rows
from llmwright.training import setup
from llmwright.training.config import TrainConfig
from llmwright.training.footprint.check import foreseen, remedies
from llmwright.training.footprint.memory import Memory, surely_fits
from llmwright.training.loop import Trainee
from llmwright.training.runtimes.config import SingleRuntime
from llmwright.training.setup import Material, Problem
from llmwright.training.state import State
from llmwright.training.train import make_trainee, make_validation, set_seed


@dataclass(frozen=True)
class Plan:
    """What a run would be.

    Attributes:
        task: What is learned.
        objective: What is minimised.
        model: ``model_type`` of the network.
        parameters: Weights of it.
        trainable: Of these, those that learn.
        rows: Examples of the training split.
        steps: Optimizer steps; None where only measuring would say it.
        tokens: Tokens of the whole run, padding not counted; None likewise.
        epochs: Passes over the data; None likewise.
        precision: Number format of the calculations.
        device: Where it runs.
        num_threads: Processor threads.
        memory: Peak memory; None where it cannot be foreseen.
        remedies: What would help where it does not fit.
        pace: How long it takes; None where nothing was measured.
        disk: What it writes; None likewise.
        samples: Rows as the model will see them.
        stops: Whether it can learn to stop; None where it writes no text.
        notices: What the run would say at its beginning.
    """

    task: str
    objective: str
    model: str
    parameters: int
    trainable: int
    rows: int
    steps: int | None
    tokens: int | None
    epochs: float | None
    precision: str
    device: str
    num_threads: int
    memory: Memory | None
    remedies: list[str]
    pace: Pace | None
    disk: Disk | None
    samples: list[ShownRow]
    stops: StopCheck | None
    notices: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as a mapping, with the sums that its parts know."""
        body = asdict(self)
        if self.memory is not None:
            known = {"peak": self.memory.peak, "still_to_take": self.memory.still_to_take}
            body["memory"] |= known | {"fits": self.memory.fits}
        if self.pace is not None:
            total, spread = self.pace.total, self.pace.spread
            low, high = total * (1 - spread), total * (1 + spread)
            body["pace"] |= {"total": total, "low": low, "high": high}
        if self.stops is not None:
            body["stops"]["passed"] = self.stops.passed
        return body


def plan(
    config: TrainConfig,
    inputs: Mapping[str, Artifact],
    project: Project,
    measure: bool = True,
    consumers: tuple[Emit, ...] = (),
) -> Plan:
    """Return what a run would be; nothing of it is kept.

    Args:
        config: What would be trained.
        inputs: As `train` gets them.
        project: Its disk is written to, and cleaned again.
        measure: Make a few steps, an evaluation, answers to sample prompts and a checkpoint, to
            know how long they take.
            Not done where the run does not fit into memory.
        consumers: Receive progress and what the run would say.

    Raises:
        LLMwrightError: What `train` would find wrong before its first step.
    """
    with files.disk_errors(project.home):
        project.home.mkdir(parents=True, exist_ok=True)
        # On the disk that the run would write to.
        with tempfile.TemporaryDirectory(prefix="plan-", dir=project.home) as folder:
            return _planned(config, inputs, project, Path(folder), measure, consumers)


def _planned(
    config: TrainConfig,
    inputs: Mapping[str, Artifact],
    project: Project,
    folder: Path,
    measure: bool,
    consumers: tuple[Emit, ...],
) -> Plan:
    said: list[str] = []
    encoding = Encoding()
    run = Run("plan", folder, project.root, project.store, [*consumers, encoding])
    run.follow(lambda event: said.append(getattr(event, "text", "")))
    started = time.monotonic()
    if config.runtime.launcher:
        # One process stands for each of several: they do the same, each with its share of a batch.
        run.notice(text("training.plan_one_process"))
        config = config.model_copy(update={"runtime": SingleRuntime()})
    runtime = config.runtime.build()
    problem = setup.define(config, inputs, run)
    material = setup.prepare(config, problem, inputs, run)
    set_seed(config.seed)
    validation = make_validation(config, problem, material)
    trainee = make_trainee(config, problem, material, runtime, run, validation)
    # The run looks at its memory only where that is in doubt.
    start = time.monotonic() - started - encoding.seconds
    looks = config.memory_check != "off" and not surely_fits(trainee)
    started = time.monotonic()
    memory, max_tokens = foreseen(config, trainee, run.notice)
    start += time.monotonic() - started if looks else 0.0
    notices = [sentence for sentence in said if sentence]
    found: Pace | None = None
    disk: Disk | None = None
    if measure and (memory is None or memory.fits):
        found, writing = measured_pace(
            config, problem, material, trainee, validation, start, folder, run, max_tokens
        )
        # While one is being written, the one before is still there, and the best weights.
        most = 2 * writing.checkpoint_bytes + writing.artifact_bytes
        disk = Disk(most, writing.artifact_bytes, shutil.disk_usage(project.home).free)
    return _put_together(config, problem, material, trainee, memory, found, disk, notices)


class Encoding:
    """Adds up the seconds in which rows were encoded: the run finds them in the token cache."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Progress) and event.stage.startswith("encode_"):
            self._times.setdefault(event.stage, []).append(time.monotonic())

    @property
    def seconds(self) -> float:
        """All of them."""
        return sum(times[-1] - times[0] for times in self._times.values())


def _put_together(
    config: TrainConfig,
    problem: Problem,
    material: Material,
    trainee: Trainee,
    memory: Memory | None,
    found: Pace | None,
    disk: Disk | None,
    notices: list[str],
) -> Plan:
    weights = list(trainee.model.parameters())
    known = trainee.budget.total_steps(State())
    steps = found.num_steps if found else round(known) if math.isfinite(known) else None
    tokens = None if steps is None else round(steps * trainee.budget.tokens_per_step)
    short = memory is not None and not memory.fits
    writes = problem.task.generates and all(e.labels is not None for e in material.train.examples)
    train, tokenizer, contract = material.train, material.tokenizer, material.contract
    reader = Reader(tokenizer, contract, problem.encoding, trainee.objective)
    return Plan(
        task=problem.task.name,
        objective=problem.objective.kind,
        model=contract.model_type,
        parameters=sum(weight.numel() for weight in weights),
        trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
        rows=len(train.examples),
        steps=steps,
        tokens=tokens,
        epochs=None if tokens is None else tokens / trainee.batches.num_tokens,
        precision=trainee.runtime.precision,
        device=str(trainee.runtime.device),
        num_threads=trainee.runtime.num_threads,
        memory=memory,
        remedies=remedies(config, memory) if memory is not None and short else [],
        pace=found,
        disk=disk,
        samples=sample_rows(train, reader),
        stops=check_stops(train, tokenizer, contract) if writes else None,
        notices=notices,
    )
