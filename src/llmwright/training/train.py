"""The operation ``train``: from a dataset to a model artifact with its contract and probes."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ResourceError
from llmwright.core.events import Notice
from llmwright.core.locale import text
from llmwright.core.runs import CHECKPOINTS, Run
from llmwright.models.config import ScratchModel
from llmwright.training import setup
from llmwright.training.acceleration.compilation import choose_compiled
from llmwright.training.acceleration.parts import choose_packing
from llmwright.training.acceleration.switching import change_parts, choose_arithmetic
from llmwright.training.budget import Budget, steps_in
from llmwright.training.checkpoints.store import Checkpoints
from llmwright.training.config import TrainConfig
from llmwright.training.data.batching import Batches, BucketedRows, TokenStream, padding_share
from llmwright.training.data.examples import label_counts
from llmwright.training.data.packing import PackedRows
from llmwright.training.data.stored import StoredExamples
from llmwright.training.following.callbacks import Follower, Judge, Keeper
from llmwright.training.following.validation import Samples, Validation
from llmwright.training.footprint.check import check_memory
from llmwright.training.footprint.meter import Meter
from llmwright.training.learner import Learner
from llmwright.training.loop import Trainee, fit
from llmwright.training.objectives.objective import Objective, ObjectiveRequest
from llmwright.training.optimizers.build import lr_factors, parameter_groups
from llmwright.training.runtimes.assignment import Assignment
from llmwright.training.runtimes.runtime import Runtime
from llmwright.training.safety.guard import Guard
from llmwright.training.safety.memory import after_kills
from llmwright.training.save import save_model_artifact
from llmwright.training.setup import Material, Problem
from llmwright.training.sinks.writing import check_packages, writing
from llmwright.training.state import State

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What a batch holds when nobody says: so many rows, but not more tokens, padding included, and not
# more logits (1 GB in float32, and as much again for their gradient).
DEFAULT_BATCH_SIZE = 32
DEFAULT_BATCH_TOKENS = 16_384
MAX_DEFAULT_LOGITS = 1 << 28
# What other processes are to call.
LEARN = "llmwright.training.train:learn"
# Between the seeds of two processes: further than anybody counts seeds.
RANK_STRIDE = 1_000_003


def train(config: TrainConfig, inputs: Mapping[str, Artifact], run: Run) -> Artifact:
    """Return the trained model: weights, tokenizer, contract, probes, history and model card.

    Args:
        config: What is wanted.
        inputs: ``dataset``, perhaps ``tokenizer`` and ``model.name``.
        run: Its folder keeps the checkpoints; a run that finds some there goes on from them.

    Raises:
        ConfigError, InputError: Something given does not fit (``TRAIN-001`` to ``TRAIN-019``).
        CheckError: Loss, gradient or weights became no numbers (``TRAIN-012``, ``TRAIN-015``).
        ResourceError: Memory is not enough (``TRAIN-130``, ``TRAIN-131``, ``TRAIN-134``,
            ``TRAIN-150``), or a sink lacks its package (``TRAIN-170``) or cannot write
            (``TRAIN-171``).
        StoppedError: The user stopped the run; the next start goes on (``CORE-060``).
    """
    check_packages(config.sinks)
    if config.runtime.launcher:
        # What all processes read is made once, before they start.
        said: set[str] = set()
        run.follow(lambda event: said.add(event.text) if isinstance(event, Notice) else None)
        setup.prepare(config, setup.define(config, inputs, run), inputs, run)
        made: Artifact = config.runtime.launch(Assignment(config, inputs, run, LEARN, said))
        return made
    artifact = learn(config, inputs, run)
    assert artifact is not None
    return artifact


def learn(config: TrainConfig, inputs: Mapping[str, Artifact], run: Run) -> Artifact | None:
    """Train in this process, be it alone or one of several; return the model.

    None in all processes but the first. Arguments and errors as for `train`.
    """
    meter = Meter()
    runtime: Runtime = config.runtime.build()
    problem = setup.define(config, inputs, run)
    material = setup.prepare(config, problem, inputs, run)
    # Each process drops out other values.
    set_seed(config.seed + RANK_STRIDE * runtime.rank)
    validation = make_validation(config, problem, material)
    trainee = make_trainee(config, problem, material, runtime, run, validation)
    # Other machines have runs of their own; the one of process 0 counts.
    folder = Path(runtime.collected(str(run.folder))[0]) / CHECKPOINTS
    decides = identity(config, problem, inputs) | {
        # What a position in an epoch means.
        "batches": type(trainee.batches).__name__,
        "num_batches": trainee.batches.num_batches(0),
    }
    with Checkpoints(folder, decides, runtime.rank) as checkpoints:
        # Smaller micro-batches help from here on. Process 0 counts for all.
        with contextlib.nullcontext() if runtime.rank else run.recoverable():
            spared = spare_memory(checkpoints.state(runtime) or State(), trainee, run)
            meter.predicted, most = check_memory(
                config, trainee, run.notice, spared.micro_batch_tokens
            )
            prepare_objective(trainee, validation, run, most)
            state = checkpoints.restore(trainee, run.notice) or State()
            state.micro_batch_tokens, state.num_kills = most, spared.num_kills
            if state.step:
                run.notice(text("training.resumed", step=state.step))
            callbacks = make_callbacks(
                config, problem, trainee, material, validation, checkpoints, state, run
            )
            sinks = [] if runtime.rank else config.sinks
            with writing(sinks, run, config.model_dump(mode="json"), state.step):
                run_to_end(trainee, state, callbacks, run)
        # After the last step the best weights are mostly those that are there.
        if state.best_step not in (None, state.step):
            checkpoints.load_best(trainee, state.best_step)
        # The checkpoints go when this run is written down as finished.
        return save_model_artifact(config, problem, material, trainee, state, meter, run)


def spare_memory(state: State, trainee: Trainee, run: Run) -> State:
    """Halve the micro-batch for each time the run was killed because memory ran out.

    Returns:
        The state, changed.

    Raises:
        ResourceError: It cannot be halved any more (``TRAIN-130``).
    """
    [kills] = map(int, trainee.runtime.agreed([run.num_kills()]))
    if kills <= state.num_kills:
        return state
    try:
        state.micro_batch_tokens = after_kills(
            trainee.batches, state.micro_batch_tokens, kills - state.num_kills, state.epoch
        )
    except ResourceError:
        run.forget_kills()
        raise
    state.num_kills = kills
    sentence = text("training.killed", kills=kills, tokens=state.micro_batch_tokens)
    run.notice(sentence, "warning")
    return state


def run_to_end(
    trainee: Trainee, state: State, callbacks: tuple[Follower, Judge, Keeper], run: Run
) -> None:
    """Train until the budget or patience ends it."""
    with run.stoppable():
        for result in () if state.stopped_early else fit(trainee, state):
            for callback in callbacks:
                callback.after(result)
            if state.stopped_early:
                break
    callbacks[0].finish()


def make_trainee(
    config: TrainConfig,
    problem: Problem,
    material: Material,
    runtime: Runtime,
    run: Run,
    validation: Validation | None = None,
) -> Trainee:
    """Return everything that takes part in training, as it is before `prepare_objective`."""
    model = runtime.place(material.model)
    change_parts(config, model, runtime, run.notice)
    objective = make_objective(config, problem, material, run)
    packing = not material.train.stream and choose_packing(
        config.packing, problem.objective.kind, model, runtime.device, run.notice
    )
    choose_arithmetic(config, model, runtime, run.notice)
    for sentence in objective.economies():
        run.notice(sentence)
    batches = make_batches(config, problem, material, packing, run)
    for split in splits_of(batches, validation).values():
        objective.expect(model, split)
    budget = Budget.of(config, batches)
    learner = make_learner(config, model, objective, budget, runtime, run)
    lr = config.lr or default_lr(config, problem)
    if config.lr is None:
        run.notice(text("training.default_lr", lr=f"{lr:g}"))
    factor_of = lr_factors(model, config.lr_factors, config.adapter)
    groups = parameter_groups(model, config.weight_decay, factor_of)
    optimizer = config.optimizer.build(groups, lr)
    fused = "fused" if optimizer.defaults.get("fused") else "unfused"
    run.notice(text(f"training.optimizer_{fused}", optimizer=config.optimizer.kind))
    sentence = text(
        "training.start",
        steps=budget.describe(),
        rows=len(material.train.owners),
        tokens=f"{batches.num_tokens:,}",
        threads=runtime.num_threads,
        device=str(runtime.device),
    )
    run.notice(sentence)
    return Trainee(
        model=model,
        objective=objective,
        learner=learner,
        optimizer=optimizer,
        schedule=config.schedule,
        lr=lr,
        batches=batches,
        budget=budget,
        runtime=runtime,
        accumulate=config.accumulate,
        max_grad_norm=config.max_grad_norm,
        guard=Guard(config.on_nan, config.on_spike, config.spike_threshold, runtime.device),
    )


def make_learner(
    config: TrainConfig,
    model: PreTrainedModel,
    objective: Objective,
    budget: Budget,
    runtime: Runtime,
    run: Run,
) -> nn.Module:
    """Return model and objective as one module, compiled where it pays, ready to be called."""
    learner = Learner(model, objective)
    learner.compiled, sentence = choose_compiled(config.compile, model, runtime, budget)
    run.notice(sentence)
    return runtime.prepare(learner, model)


def make_objective(
    config: TrainConfig, problem: Problem, material: Material, run: Run
) -> Objective:
    """Return the objective, with what it must know about model and labels."""
    counts_C, num_targets = label_counts(material.train, material.contract)
    request = ObjectiveRequest(
        material.model,
        material.contract,
        smoothing=config.label_smoothing,
        class_weights=config.class_weights,
        seed=config.seed,
        label_counts_C=counts_C,
        num_targets=num_targets,
        tokenizer=material.tokenizer,
        inputs=problem.inputs,
        root=run.root,
    )
    objective: Objective = problem.objective.build(request)
    return objective


def splits_of(batches: Batches, validation: Validation | None) -> dict[str, Batches]:
    """Return what an objective looks at before training."""
    return {"train": batches} | ({"validation": validation.batches} if validation else {})


def prepare_objective(
    trainee: Trainee, validation: Validation | None, run: Run, max_tokens: int | None = None
) -> None:
    """Let the objective look at both splits while the model is what it was before training.

    Args:
        trainee: Before its first step.
        validation: Has the other split.
        run: Is told how far it is, and may be stopped.
        max_tokens: Most tokens that memory holds at once, as far as that is known.

    Raises:
        ResourceError: Memory is not enough (``TRAIN-130``, ``TRAIN-131``).
        StoppedError: The user stopped the run (``CORE-060``).
    """

    def report(name: str, done: int, total: int) -> None:
        run.progress(f"prepare_{name}", done, total, "batches")
        # Processes that a launcher started hear of it here only.
        if run.should_stop():
            raise run.stop()

    with trainee.runtime.whole(trainee.learner):
        for name, split in splits_of(trainee.batches, validation).items():
            trainee.objective.prepare(
                trainee.model, split, trainee.runtime, partial(report, name), max_tokens
            )


def batch_limits(
    config: TrainConfig, problem: Problem, material: Material
) -> tuple[int | None, int | None]:
    """Return the most rows and the most tokens of a batch: as asked, else what memory holds.

    Large vocabularies make the logits the largest tensor of all, so they have a limit of their own.
    """
    if config.batch_size is not None or config.batch_tokens is not None:
        return config.batch_size, config.batch_tokens
    tokens = DEFAULT_BATCH_TOKENS
    if problem.task.generates:
        outputs = int(material.model.config.get_text_config().vocab_size)
        tokens = min(tokens, MAX_DEFAULT_LOGITS // outputs)
    return DEFAULT_BATCH_SIZE, max(1, tokens)


def make_batches(
    config: TrainConfig, problem: Problem, material: Material, packing: bool, run: Run
) -> Batches:
    """Return the training split in batches; sizes that nobody named are said."""
    train = material.train
    size, tokens = batch_limits(config, problem, material)
    if config.batch_size is None and config.batch_tokens is None:
        run.notice(text("training.default_batch", rows=size, tokens=f"{tokens:,}"))
    if train.stream:
        assert isinstance(train.examples, StoredExamples)
        stream_N, ends_D = train.examples.stream()
        length = material.contract.max_length
        return TokenStream(stream_N, ends_D, train.owners, length, size, tokens, config.seed)
    kind = PackedRows if packing else BucketedRows
    batches = kind(
        train.examples, train.owners, problem.encoding, material.contract, size, tokens, config.seed
    )
    if not packing:
        run.notice(text("training.padding", share=f"{padding_share(batches):.1%}"))
    return batches


def make_validation(config: TrainConfig, problem: Problem, material: Material) -> Validation | None:
    """Return what measures the model on the validation split; None when there is none."""
    found = material.validation
    if found is None:
        return None
    size, tokens = batch_limits(config, problem, material)
    batches = BucketedRows(
        found.examples,
        found.owners,
        problem.encoding,
        material.contract,
        size or DEFAULT_BATCH_SIZE,
        tokens,
        seed=None,
    )
    return Validation(batches, found.rows, problem.task, config.selection)


def make_callbacks(
    config: TrainConfig,
    problem: Problem,
    trainee: Trainee,
    material: Material,
    validation: Validation | None,
    checkpoints: Checkpoints,
    state: State,
    run: Run,
) -> tuple[Follower, Judge, Keeper]:
    """Return what happens after each step, in order."""
    every = config.evaluate_every_steps or default_interval(config, trainee)
    follower = Follower(trainee, state, run, material.train.rows, config.log_every_steps)
    samples = None
    if config.sample_prompts:
        samples = Samples(
            problem.task, material.tokenizer, material.contract, config.sample_prompts
        )
    judge = Judge(trainee, state, run, follower, validation, samples, every, config.patience)
    every = config.checkpoint_every_steps or every
    minutes = config.checkpoint_every_minutes
    keeper = Keeper(trainee, state, run, follower, checkpoints, every, minutes)
    return follower, judge, keeper


def default_interval(config: TrainConfig, trainee: Trainee) -> int:
    """Return the steps of an epoch, but at least 5 and at most 20 intervals in a run."""
    per_epoch = steps_in(1.0, trainee.batches, config.accumulate)
    total = trainee.budget.total_steps(State())
    if math.isinf(total):
        return per_epoch
    return max(1, min(max(per_epoch, math.ceil(total / 20)), int(total // 5)))


def default_lr(config: TrainConfig, problem: Problem) -> float:
    """Return a learning rate that suits the adapter, else a new or a finished model."""
    lr = config.adapter.default_lr or (1e-3 if isinstance(problem.spec, ScratchModel) else 5e-5)
    lr *= problem.objective.lr_factor
    return lr * 100 if config.optimizer.kind == "sgd" else lr


def identity(
    config: TrainConfig, problem: Problem, inputs: Mapping[str, Artifact]
) -> dict[str, Any]:
    """Return all that decides the result: a checkpoint of another run is refused."""
    return {
        **config.deciding(),
        "model": problem.spec.model_dump(mode="json"),
        "objective": problem.objective.model_dump(mode="json"),
        "inputs": {name: artifact.id for name, artifact in inputs.items()},
    }


def set_seed(seed: int) -> None:
    """Set every random number generator (dropout and plugins; batches have their own)."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)
