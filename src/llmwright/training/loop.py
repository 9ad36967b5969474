"""THE loop: batches become losses, losses become steps. Nothing else trains.

`fit` is a generator. It yields after each optimizer step, so whoever drives it decides what
happens between steps: evaluation, checkpoints, stopping. It never reads a value back from the
device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from llmwright.core.errors import ConfigError, ResourceError
from llmwright.tasks.task import Batch
from llmwright.training.budget import Budget, lr_factor
from llmwright.training.data.batching import Batches
from llmwright.training.objectives.objective import SURVEY, Objective, Tensors
from llmwright.training.optimizers.config import ScheduleKind
from llmwright.training.runtimes.runtime import Runtime, Share
from llmwright.training.safety.guard import Guard
from llmwright.training.safety.memory import Attempt, free, halved, micro_batches
from llmwright.training.safety.randomness import random_states, set_random_states
from llmwright.training.state import State

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

Group = list[np.ndarray]


@dataclass(frozen=True)
class Trainee:
    """All that takes part in training.

    Attributes:
        model: Learns; in train mode.
        objective: Makes the losses of a batch.
        learner: Model and objective in one module, prepared by the runtime: what is called.
        optimizer: Changes the weights.
        schedule: Changes the learning rate.
        lr: Full learning rate.
        batches: The training data.
        budget: When to end.
        runtime: Where it happens.
        accumulate: Batches in one optimizer step.
        max_grad_norm: Longest gradient; None without a limit.
        guard: Refuses bad steps.
    """

    model: PreTrainedModel
    objective: Objective
    learner: nn.Module
    optimizer: Optimizer
    schedule: ScheduleKind
    lr: float
    batches: Batches
    budget: Budget
    runtime: Runtime
    accumulate: int
    max_grad_norm: float | None
    guard: Guard = field(default_factory=Guard)


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did.

    Attributes:
        step: Its number, from 1.
        epoch: Pass over the data it belongs to, from 0.
        group: Row indices of its batches.
        loss: Mean loss per target, still on the device.
        grad_norm: Length of the gradient before clipping, on the device; None without clipping.
        lr: Learning rate it was made with.
        num_tokens: Tokens read, padding not counted.
        verdict: A `Verdict`, on the device; a step that is not good changed nothing where the
            guard could see to it.
    """

    step: int
    epoch: int
    group: Group
    loss: Tensor
    grad_norm: Tensor | None
    lr: float
    num_tokens: int
    verdict: Tensor


def fit(trainee: Trainee, state: State) -> Iterator[StepResult]:
    """Train from ``state`` to the end of the budget; yield after each optimizer step.

    The state is up to date whenever a result is yielded: saving it there, and calling `fit` with
    it again, goes on with the next step exactly.

    Raises:
        ConfigError: A whole epoch has nothing to learn from (``TRAIN-009``).
    """
    trainee.guard.begin(state)
    while not trainee.budget.reached(state):
        before, whole_epoch = state.step, state.position == 0
        for group, epoch, position in groups(trainee, state):
            started = time.perf_counter()
            result = one_step(trainee, state, group)
            state.epoch, state.position = epoch, position
            if result is None:
                continue
            state.step = result.step
            state.tokens += result.num_tokens
            seconds = state.seconds + time.perf_counter() - started
            [state.seconds] = trainee.runtime.agreed([seconds])
            yield result
            if trainee.budget.reached(state):
                return
        if whole_epoch and state.step == before:
            raise ConfigError("TRAIN-009")


def groups(trainee: Trainee, state: State) -> Iterator[tuple[Group, int, int]]:
    """Yield what is left of the present epoch: batches of a step, epoch and position after it."""
    present = state.epoch
    batches = trainee.batches.epoch(present)
    for start in range(state.position, len(batches), trainee.accumulate):
        end = min(start + trainee.accumulate, len(batches))
        group = list(batches[start:end])
        yield group, *((present + 1, 0) if end == len(batches) else (present, end))


def one_step(trainee: Trainee, state: State, group: Group) -> StepResult | None:
    """Make one optimizer step; None when its batches hold nothing to learn.

    Raises:
        ResourceError: Memory ran out and no smaller micro-batch is possible (``TRAIN-130``,
            ``TRAIN-131``), or there is too little for the optimizer (``TRAIN-134``).
    """
    total_steps = trainee.budget.total_steps(state)
    lr = trainee.lr * lr_factor(trainee.schedule, state.step, total_steps)
    done = 0.0 if math.isinf(total_steps) else min(1.0, state.step / total_steps)
    for settings in trainee.optimizer.param_groups:
        settings["lr"] = lr * settings["lr_factor"]
    loss = fitting_gradients(trainee, state, group, done)
    if loss is None:
        return None
    grad_norm = clip(trainee)
    verdict = trainee.guard.verdict(loss, grad_norm)
    attempt = Attempt()
    attempt(partial(trainee.guard.step, trainee.optimizer, verdict))
    if attempt.failed:
        raise ResourceError("TRAIN-134", optimizer=type(trainee.optimizer).__name__)
    trainee.optimizer.zero_grad()
    num_tokens = sum(trainee.batches.count_tokens(indices_B) for indices_B in group)
    return StepResult(state.step + 1, state.epoch, group, loss, grad_norm, lr, num_tokens, verdict)


def fitting_gradients(trainee: Trainee, state: State, group: Group, done: float) -> Tensor | None:
    """Do what `gradients` does; where memory runs out, again in smaller micro-batches.

    It begins anew with the random numbers of the first try: the outcome is the same as if the
    micro-batches had been planned so.
    """
    before = random_states()
    while True:
        most = state.micro_batch_tokens
        parts = [part for i_B in group for part in micro_batches(trainee.batches, i_B, most)]
        attempt = Attempt()
        loss = attempt(partial(gradients, trainee, state.epoch, parts, done))
        if not attempt.failed:
            return loss
        trainee.optimizer.zero_grad()
        if not trainee.runtime.repeats:
            raise ResourceError("TRAIN-131")
        state.micro_batch_tokens = halved(trainee.batches, parts, attempt.reason)
        free()
        set_random_states(before)


def gradients(trainee: Trainee, epoch: int, parts: Group, done: float) -> Tensor | None:
    """Add up the gradients of a step and return its mean loss; None when nothing is to be learned.

    The loss is divided by the number of targets in all micro-batches of the step, over all
    processes, and what the objective must know of the step is asked of all of them: cutting and
    sharing batches gives the gradient of one large batch, whatever their lengths.
    """
    objective, runtime = trainee.objective, trainee.runtime
    shares = [runtime.share(indices_B) for indices_B in parts]
    collated = [objective.arrays(trainee.batches.collate(s.indices_B, epoch)) for s in shares]
    pairs = list(zip(shares, collated, strict=True))
    [weight] = runtime.total([sum(objective.weight(a) for share, a in pairs if share.counts)])
    if weight == 0:
        return None
    # Processes average their gradients; ours are shares of a sum.
    weight /= runtime.world
    loss = torch.zeros((), device=runtime.device)
    known = survey(trainee, pairs) if objective.surveys else {}
    for number, (share, arrays) in enumerate(pairs, start=1):
        with runtime.exchanging(trainee.learner, last=number == len(pairs)):
            with runtime.autocast():
                part = trainee.learner({**runtime.tensors(arrays), **known}, done) / weight
            part = part if share.counts else part * 0.0
            part.backward()
        loss += part.detach()
    return runtime.summed(loss) / runtime.world


@torch.no_grad()
def survey(trainee: Trainee, pairs: Iterable[tuple[Share, Batch]]) -> Tensors:
    """Return what the objective must know of all batches together, over all processes.

    Args:
        trainee: Its objective surveys.
        pairs: What this process computes of each batch, and its arrays.
    """
    runtime, found = trainee.runtime, []
    for share, arrays in pairs:
        with runtime.autocast():
            sums_K = trainee.learner(runtime.tensors(arrays), surveys=True)
        found.append(sums_K if share.counts else torch.zeros_like(sums_K))
    return {SURVEY: runtime.summed(torch.stack(found).sum(dim=0))}


def clip(trainee: Trainee) -> Tensor | None:
    """Shorten the gradient to its limit; return its length before."""
    if trainee.max_grad_norm is None and not trainee.guard.needs_norm:
        return None
    longest = math.inf if trainee.max_grad_norm is None else trainee.max_grad_norm
    weights = [w for settings in trainee.optimizer.param_groups for w in settings["params"]]
    return trainee.runtime.clip(weights, longest)
