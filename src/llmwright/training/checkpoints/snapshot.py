"""What a checkpoint holds, taken between two steps and written while the next ones run.

Files: ``model.safetensors`` (the weights that learn), ``optimizer.safetensors`` (the tensors of the
optimizer's state, numbered), ``values.pt`` (all else of it, and the random numbers) and
``state.json`` (position, history, and whose checkpoint it is).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmwright.core import files, hardware
from llmwright.training.checkpoints.tensors import FORMATS, TensorFile, host_buffer
from llmwright.training.checkpoints.writer import Release
from llmwright.training.loop import Trainee
from llmwright.training.safety.memory import Attempt
from llmwright.training.safety.randomness import random_states
from llmwright.training.state import State

WEIGHTS, OPTIMIZER, VALUES, STATE = (
    "model.safetensors",
    "optimizer.safetensors",
    "values.pt",
    "state.json",
)
# Where a tensor was taken out of a tree of values: this word and the tensor's number.
TENSOR = "tensor:"
# Of the memory that is free, the share that copies may take.
MAX_SHARE = 0.5


@dataclass
class Snapshot:
    """References to what training will change, and copies of all that is small.

    Attributes:
        tensors: File name → name → tensor.
        values: All else of the optimizer's state, and random numbers; None for weights alone.
        state: What ``state.json`` will hold; None for weights alone.
    """

    tensors: dict[str, dict[str, Tensor]]
    values: dict[str, Any] | None = None
    state: dict[str, Any] | None = None

    def reserve(self, buffers: Buffers, release: Release) -> None:
        """Have host memory ready for a snapshot like this one."""
        release()
        buffers.reserve({name: TensorFile(tensors) for name, tensors in self.tensors.items()})

    def write(self, folder: Path, buffers: Buffers, release: Release) -> None:
        """Write all files; call ``release`` as soon as the trainee may go on changing.

        Raises:
            OSError: The disk does not take them.
        """
        made = {name: TensorFile(tensors) for name, tensors in self.tensors.items()}
        if buffers.take(made):
            release()
            buffers.wait()
        for name, file in made.items():
            file.write(folder / name)
        release()
        if self.values is not None:
            write_values(folder / VALUES, self.values)
        if self.state is not None:
            files.write_json(folder / STATE, self.state)


class Buffers:
    """Host memory that snapshots are copied to, kept from one to the next."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def take(self, made: dict[str, TensorFile]) -> bool:
        """Copy tensors to host memory; say whether there was enough of it to do so."""
        if not self.reserve(made):
            return False
        for name, file in made.items():
            file.stage(self._kept[name])
        if torch.cuda.is_available():
            # The copies lie in the queue of the GPU, before whatever training asks of it next.
            self._copied = torch.cuda.Event()
            self._copied.record()
        return True

    def reserve(self, made: dict[str, TensorFile]) -> bool:
        """Have enough host memory; say whether there was so much."""
        missing = {
            name: file.buffer_bytes
            for name, file in made.items()
            if name not in self._kept or self._kept[name].nbytes != file.buffer_bytes
        }
        if sum(missing.values()) > MAX_SHARE * hardware.memory().available_bytes:
            return False
        attempt = Attempt()
        self._kept |= attempt(lambda: {n: host_buffer(size) for n, size in missing.items()}) or {}
        return not attempt.failed

    def wait(self) -> None:
        """Wait until the copies are there, where a GPU makes them."""
        if self._copied is not None:
            self._copied.synchronize()


def whole_snapshot(trainee: Trainee, state: State, identity: dict[str, Any]) -> Snapshot:
    """Return all that is needed to go on; every process must ask for it."""
    runtime = trainee.runtime
    tensors: dict[str, Tensor] = {}
    optimizer = take_out(runtime.optimizer_state(trainee.model, trainee.optimizer), tensors)
    return Snapshot(
        {WEIGHTS: runtime.weights(trainee.model), OPTIMIZER: tensors},
        {"optimizer": optimizer, "random": runtime.collected(random_states())},
        {"identity": identity, **state.to_json()},
    )


def weights_snapshot(trainee: Trainee) -> Snapshot:
    """Return the weights alone; every process must ask for it."""
    return Snapshot({WEIGHTS: trainee.runtime.weights(trainee.model)})


def take_out(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a tree of values with its tensors taken out, into ``tensors``, under a number each."""
    if isinstance(value, Tensor):
        if value.dtype not in FORMATS:
            return value.detach().cpu().clone()
        tensors[str(len(tensors))] = value
        return f"{TENSOR}{len(tensors) - 1}"
    if isinstance(value, dict):
        return {key: take_out(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(take_out(item, tensors) for item in value)
    return value


def put_back(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the tree of values that `take_out` took apart."""
    if isinstance(value, str) and value.startswith(TENSOR):
        return tensors[value.removeprefix(TENSOR)]
    if isinstance(value, dict):
        return {key: put_back(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(put_back(item, tensors) for item in value)
    return value


def write_values(path: Path, values: Any) -> None:
    """Write plain values and small tensors with torch.

    Through a file of Python's, whose errors say what is wrong with the disk; torch's own do not.
    """
    with path.open("wb") as file:
        torch.save(values, file)
