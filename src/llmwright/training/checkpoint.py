"""Checkpoints: complete or invisible, and enough to go on as if nothing had happened.

A checkpoint is a folder ``step-00000120``, written under another name, synced to the disk and
renamed. The best weights so far are kept beside it in ``best-00000080``; what no complete
checkpoint speaks of any more is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from llmwright.core import files
from llmwright.core.errors import InputError, LLMwrightError, ResourceError
from llmwright.core.locale import text
from llmwright.training.adapters.adapter import load_trainable, trainable_state
from llmwright.training.loop import Trainee
from llmwright.training.safety.randomness import random_states, set_random_states
from llmwright.training.state import State

WEIGHTS, OPTIMIZER, RANDOM, STATE = "model.safetensors", "optimizer.pt", "random.pt", "state.json"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they lie.
        identity: Hash of everything the run depends on; a checkpoint of another run is refused.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self._identity = identity
        with files.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob("*.tmp"):
            shutil.rmtree(unfinished)

    def latest(self) -> Path | None:
        """Return the newest complete checkpoint."""
        return max(self._folder.glob("step-*"), default=None)

    def save(self, trainee: Trainee, state: State) -> Path:
        """Write a checkpoint; older ones are removed when it is complete.

        Raises:
            ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
        """
        path = self._folder / f"step-{state.step:08d}"
        if path.exists():
            return path
        with complete_folder(path) as folder:
            save_file(trainable_state(trainee.model), folder / WEIGHTS)
            write_values(folder / OPTIMIZER, trainee.optimizer.state_dict())
            write_values(folder / RANDOM, random_states())
            files.write_json(folder / STATE, {"identity": self._identity, **state.to_json()})
        best = None if state.best_step is None else self._best(state.best_step)
        for old in self._folder.iterdir():
            if old not in (path, best):
                shutil.rmtree(old)
        return path

    def restore(self, trainee: Trainee, notice: Callable[..., None]) -> State | None:
        """Bring the newest checkpoint back; return its state, or None when there is none.

        A damaged one is removed where an older one is sound; that is said.

        Args:
            trainee: Gets the weights.
            notice: Receives sentences for the user.

        Raises:
            InputError: It was made by another run (``TRAIN-010``), or none can be read
                (``TRAIN-016``).
        """
        damaged: list[InputError] = []
        for path in sorted(self._folder.glob("step-*"), reverse=True):
            try:
                state = self._read(path, trainee)
            except InputError as error:
                if error.code != "TRAIN-016":
                    raise
                damaged.append(error)
                continue
            for problem in damaged:
                notice(text("training.damaged_checkpoint", reason=problem.message), "warning")
                shutil.rmtree(str(problem.values["path"]))
            return state
        if damaged:
            raise damaged[0]
        return None

    def _read(self, path: Path, trainee: Trainee) -> State:
        with sound(path):
            values: dict[str, Any] = files.read_json(path / STATE)
            if values.pop("identity") != self._identity:
                raise InputError("TRAIN-010", path=path)
            state = State.from_json(values)
            load_trainable(trainee.model, load_file(path / WEIGHTS))
            trainee.optimizer.load_state_dict(torch.load(path / OPTIMIZER, weights_only=True))
            set_random_states(torch.load(path / RANDOM, weights_only=True))
        return state

    def save_best(self, trainee: Trainee, step: int) -> None:
        """Keep the present weights as the best ones.

        Raises:
            ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
        """
        path = self._best(step)
        if not path.exists():
            with complete_folder(path) as folder:
                save_file(trainable_state(trainee.model), folder / WEIGHTS)

    def load_best(self, trainee: Trainee, step: int) -> None:
        """Bring the best weights back.

        Raises:
            InputError: They cannot be read (``TRAIN-016``).
        """
        path = self._best(step)
        with sound(path):
            load_trainable(trainee.model, load_file(path / WEIGHTS))

    def remove(self) -> None:
        """Delete all checkpoints."""
        shutil.rmtree(self._folder)

    def _best(self, step: int) -> Path:
        return self._folder / f"best-{step:08d}"


@contextlib.contextmanager
def complete_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill that appears under its name only when all of it is on the disk.

    Raises:
        ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with files.disk_errors(path):
            temporary.mkdir()
            yield temporary
            for file in temporary.iterdir():
                files.sync_file(file)
            files.sync_folder(temporary)
            temporary.rename(path)
            files.sync_folder(path.parent)
    except SafetensorError as error:
        # What it raises when a write fails carries no error number.
        raise ResourceError("CORE-021", path=path, reason=str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def write_values(path: Path, values: Any) -> None:
    """Write tensors and plain values with torch.

    Through a file of Python's, whose errors say what is wrong with the disk; torch's own do not.
    """
    with path.open("wb") as file:
        torch.save(values, file)
