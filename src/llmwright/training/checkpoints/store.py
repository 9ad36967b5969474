"""Checkpoints: complete or invisible, and enough to go on as if nothing had happened.

A checkpoint is a folder ``step-00000120``, written under another name, synced to the disk and
renamed. The best weights so far are kept beside it in ``best-00000080``; what no complete
checkpoint speaks of any more is removed. All of it is written while training goes on: the next
optimizer step only waits until the state is copied to host memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor

from llmwright.core import files
from llmwright.core.errors import InputError, LLMwrightError
from llmwright.core.layers import differences
from llmwright.core.locale import text
from llmwright.training.checkpoints.snapshot import (
    OPTIMIZER,
    STATE,
    VALUES,
    WEIGHTS,
    Buffers,
    Snapshot,
    put_back,
    weights_snapshot,
    whole_snapshot,
)
from llmwright.training.checkpoints.writer import Release, Writer
from llmwright.training.loop import Trainee
from llmwright.training.safety.randomness import set_random_states
from llmwright.training.state import State

if TYPE_CHECKING:
    from llmwright.training.runtimes.runtime import Runtime

T = TypeVar("T")

# How the name of a folder ends that is still being written.
UNFINISHED = ".tmp"


@dataclass(frozen=True)
class Kept:
    """What was read from a checkpoint.

    Attributes:
        state: Of the loop.
        weights: Those that learn.
        optimizer: Its state.
        random: For each process, the states of its random number generators.
    """

    state: State
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    random: list[dict[str, Any]]

    def put_into(self, trainee: Trainee) -> None:
        """Bring it back."""
        runtime = trainee.runtime
        runtime.load_weights(trainee.model, self.weights)
        runtime.load_optimizer(trainee.model, trainee.optimizer, self.optimizer)
        # With more processes than before, the new ones keep what their seed gave them.
        if runtime.rank < len(self.random):
            set_random_states(self.random[runtime.rank])


class Checkpoints:
    """The checkpoints of one run; a context that ends when nothing is being written any more.

    Args:
        folder: Where they lie.
        identity: All that the result depends on; a checkpoint of another run is refused.
        rank: Number of this process; only 0 writes, all others ask for the same at the same time.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], rank: int = 0) -> None:
        self._folder = folder
        # As it reads when it comes back from a file.
        self._identity = json.loads(files.to_json(identity))
        self._writer = Writer()
        self._buffers = Buffers()
        self._hooked = False
        if rank:
            return
        with files.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob(f"*{UNFINISHED}"):
            shutil.rmtree(unfinished)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being written; an error of it is not worth hiding another one."""
        self._writer.finish(check=False)

    def latest(self) -> Path | None:
        """Return the newest complete checkpoint."""
        return next(iter(self._complete()), None)

    def _complete(self) -> list[Path]:
        """Return all complete checkpoints, the newest first."""
        found = (path for path in self._folder.glob("step-*") if path.suffix != UNFINISHED)
        return sorted(found, reverse=True)

    def check(self) -> None:
        """Raise what went wrong in writing since the last call.

        Raises:
            ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
        """
        self._writer.check()

    def finish(self) -> None:
        """Wait until all that was saved is on the disk.

        Raises:
            ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
        """
        self._writer.finish()

    def prepare(self, trainee: Trainee) -> None:
        """Begin to reserve the host memory that checkpoints are copied to.

        Worth its while once the optimizer has a state: memory that is touched for the first time
        costs many times what a copy does.
        """
        snapshot = whole_snapshot(trainee, State(), self._identity)
        self._start(trainee, partial(snapshot.reserve, self._buffers))

    def save(self, trainee: Trainee, state: State) -> None:
        """Begin to write a checkpoint; older ones are removed when it is complete.

        Waits for one that is still being written. Weights that are the best so far are written
        once, under two names.

        Raises:
            ResourceError: The one before could not be written: the disk is full (``CORE-020``) or
                not writable (``CORE-021``).
        """
        path = self._folder / f"step-{state.step:08d}"
        best = None if state.best_step is None else self._best(state.best_step)
        snapshot = whole_snapshot(trainee, state, self._identity)
        is_best = state.best_step == state.step
        self._start(trainee, partial(self._write, snapshot, path, best, is_best))

    def save_best(self, trainee: Trainee, step: int) -> None:
        """Begin to write the present weights, the best so far.

        Raises:
            ResourceError: As `save`.
        """
        snapshot = weights_snapshot(trainee)
        self._start(trainee, partial(self._write_weights, snapshot, self._best(step)))

    def _start(self, trainee: Trainee, work: Callable[[Release], None]) -> None:
        if trainee.runtime.rank:
            return
        if not self._hooked:
            # Weights are read by the next forward and backward pass, and changed only here.
            trainee.optimizer.register_step_pre_hook(lambda *_: self._writer.hold())
            self._hooked = True
        self._writer.start(work)

    def _write(
        self, snapshot: Snapshot, path: Path, best: Path | None, is_best: bool, release: Release
    ) -> None:
        with complete_folder(path) as folder:
            snapshot.write(folder, self._buffers, release)
            if best is not None and is_best:
                with complete_folder(best) as linked:
                    same_file(folder / WEIGHTS, linked / WEIGHTS)
        self._remove_all_but(path, best)

    def _write_weights(self, snapshot: Snapshot, path: Path, release: Release) -> None:
        with complete_folder(path) as folder:
            snapshot.write(folder, self._buffers, release)

    def _remove_all_but(self, *kept: Path | None) -> None:
        for old in self._folder.iterdir():
            if old not in kept:
                shutil.rmtree(old)

    def state(self, runtime: Runtime) -> State | None:
        """Return the state that training will most likely go on from; None when there is none.

        Only that is read: what a run found out about memory, before it takes any.

        Args:
            runtime: All its processes ask; what process 0 sees counts.

        Raises:
            InputError: It was made by another run (``TRAIN-010``).
        """
        state = None
        for path in self._complete():
            with _unless_damaged():
                state = self._state(path)
                break
        found: State | None = runtime.collected(state)[0]
        return found

    def restore(self, trainee: Trainee, notice: Callable[..., None]) -> State | None:
        """Bring the newest checkpoint back; return its state, or None when there is none.

        A damaged one is removed where an older one is sound; that is said. Several processes go by
        what process 0 sees in the folder, and take none that one of them cannot read.

        Args:
            trainee: Gets weights and optimizer state.
            notice: Receives sentences for the user.

        Raises:
            InputError: It was made by another run (``TRAIN-010``), or none can be read
                (``TRAIN-016``).
        """
        damaged: list[InputError] = []
        runtime = trainee.runtime
        for name in runtime.collected([path.name for path in self._complete()])[0]:
            path = self._folder / name
            try:
                kept = together(runtime, path, partial(self._read, path))
                # When this is over, nobody reads any more what is removed below.
                together(runtime, path, partial(kept.put_into, trainee))
            except InputError as error:
                if error.code != "TRAIN-016":
                    raise
                damaged.append(error)
                continue
            for problem in damaged:
                notice(text("training.damaged_checkpoint", reason=problem.message), "warning")
            if not runtime.rank:
                best = None if kept.state.best_step is None else self._best(kept.state.best_step)
                self._remove_all_but(path, best)
            return kept.state
        if damaged:
            raise damaged[0]
        if not runtime.rank:
            self._remove_all_but()
        return None

    def _state(self, path: Path) -> State:
        with sound(path):
            values: dict[str, Any] = files.read_json(path / STATE)
            changes = differences(values.pop("identity"), self._identity)
            if changes:
                raise InputError("TRAIN-010", path=path, changes=changes)
            return State.from_json(values)

    def _read(self, path: Path) -> Kept:
        state = self._state(path)
        values = torch.load(path / VALUES, weights_only=True)
        optimizer = put_back(values["optimizer"], load_file(path / OPTIMIZER))
        return Kept(state, load_file(path / WEIGHTS), optimizer, values["random"])

    def load_best(self, trainee: Trainee, step: int) -> None:
        """Bring the best weights back.

        Raises:
            InputError: They cannot be read (``TRAIN-016``).
            ResourceError: They could not be written (``CORE-020``, ``CORE-021``).
        """
        self.finish()
        # The others wait here until process 0 has written.
        trainee.runtime.agreed([step])
        path = self._best(step)
        weights = together(trainee.runtime, path, partial(load_file, path / WEIGHTS))
        load = partial(trainee.runtime.load_weights, trainee.model, weights)
        together(trainee.runtime, path, load)

    def _best(self, step: int) -> Path:
        return self._folder / f"best-{step:08d}"


def same_file(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system has no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextlib.contextmanager
def complete_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill that appears under its name only when all of it is on the disk.

    Raises:
        ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with files.disk_errors(path):
            temporary.mkdir()
            yield temporary
            for file in temporary.iterdir():
                files.sync_file(file)
            files.sync_folder(temporary)
            temporary.rename(path)
            files.sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def together(runtime: Runtime, path: Path, work: Callable[[], T]) -> T:
    """Return what reading a part of a checkpoint returns, once all processes have done it.

    Bringing weights back is work that they share: none may go on alone.

    Raises:
        InputError: One of them finds it damaged (``TRAIN-016``).
    """
    reason = ""
    try:
        with sound(path):
            made = work()
    except InputError as error:
        if error.code != "TRAIN-016":
            raise
        reason = str(error.values["reason"])
    for found in runtime.collected(reason):
        if found:
            raise InputError("TRAIN-016", path=path, reason=found)
    return made


@contextlib.contextmanager
def _unless_damaged() -> Iterator[None]:
    """Leave out what is damaged: whoever reads all of it says so."""
    try:
        yield
    except InputError as error:
        if error.code != "TRAIN-016":
            raise


@contextlib.contextmanager
def sound(path: Path) -> Iterator[None]:
    """Read a part of a checkpoint.

    Raises:
        InputError: It is damaged (``TRAIN-016``).
    """
    try:
        yield
    except (LLMwrightError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # Half a file makes JSON, pickle, zip and safetensors raise errors of every kind.
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError("TRAIN-016", path=path, reason=reason) from error
