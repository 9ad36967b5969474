"""Checkpoints: complete or invisible, and enough to go on as if nothing had happened.

A checkpoint is a folder ``step-00000120``, written under another name, synced to the disk and
renamed. The best weights so far are kept beside it in ``best-00000080``; what no complete
checkpoint speaks of any more is removed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from llmwright.core import files
from llmwright.core.errors import InputError, ResourceError
from llmwright.training.loop import Trainee
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
            save_model(trainee.model, str(folder / WEIGHTS))
            torch.save(trainee.optimizer.state_dict(), folder / OPTIMIZER)
            torch.save(random_states(), folder / RANDOM)
            files.write_json(folder / STATE, {"identity": self._identity, **state.to_json()})
        best = None if state.best_step is None else self._best(state.best_step)
        for old in self._folder.iterdir():
            if old not in (path, best):
                shutil.rmtree(old)
        return path

    def restore(self, trainee: Trainee) -> State | None:
        """Bring the newest checkpoint back; return its state, or None when there is none.

        Raises:
            InputError: It was made by another run or cannot be read (``TRAIN-010``).
        """
        path = self.latest()
        if path is None:
            return None
        try:
            values: dict[str, Any] = files.read_json(path / STATE)
            if values.pop("identity") != self._identity:
                raise InputError("TRAIN-010", path=path)
            load_model(trainee.model, str(path / WEIGHTS))
            trainee.optimizer.load_state_dict(torch.load(path / OPTIMIZER, weights_only=True))
            set_random_states(torch.load(path / RANDOM, weights_only=True))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise InputError("TRAIN-010", path=path) from error
        return State.from_json(values)

    def save_best(self, trainee: Trainee, step: int) -> None:
        """Keep the present weights as the best ones.

        Raises:
            ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
        """
        path = self._best(step)
        if not path.exists():
            with complete_folder(path) as folder:
                save_model(trainee.model, str(folder / WEIGHTS))

    def load_best(self, trainee: Trainee, step: int) -> None:
        """Bring the best weights back."""
        load_model(trainee.model, str(self._best(step) / WEIGHTS))

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
    except (SafetensorError, RuntimeError) as error:
        # What these libraries raise when a write fails carries no error number.
        raise ResourceError("CORE-021", path=path, reason=str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def random_states() -> dict[str, Any]:
    """Return the state of every random number generator, as tensors and plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.array(keys, dtype=np.int64)), *rest],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Set every random number generator as `random_states` found it."""
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
