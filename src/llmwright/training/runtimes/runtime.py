"""Where a run takes place: device, processes, number format.

The loop speaks to the runtime only, so that several processes need no other loop. All of them see
the same batches in the same order; each computes its share of every batch.

Shapes: B rows.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from llmwright.core.errors import ResourceError
from llmwright.core.hardware import num_cores
from llmwright.tasks.task import Batch
from llmwright.training.adapters.adapter import load_trainable, trainable_state
from llmwright.training.runtimes import states
from llmwright.training.runtimes.config import SingleRuntime
from llmwright.training.runtimes.environment import refuse_foreign_launch
from llmwright.training.runtimes.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Share:
    """What one process computes of a batch.

    Attributes:
        indices_B: Indices of its rows, at least one.
        counts: Whether they count. A batch with fewer rows than there are processes leaves some
            without any: they compute a row of another's for nothing, since each must take part in
            every exchange of gradients.
    """

    indices_B: np.ndarray
    counts: bool = True


class Runtime:
    """One process and its device; what several processes do otherwise is overridden.

    Args:
        device: Where tensors live.
        num_threads: Processor threads torch uses.

    Attributes:
        rank: Number of this process, from 0; only 0 speaks and writes.
        world: How many there are.
        precision: Number format of the calculations.
    """

    rank: int = 0
    world: int = 1

    def __init__(self, device: torch.device, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self.num_threads = num_threads
        self.device = device
        self.precision: Precision = "float32"

    def place(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a model, moved to where `prepare` wants it."""
        return model.to(self.device)

    def prepare(self, learner: nn.Module, model: nn.Module) -> nn.Module:
        """Return a learner, ready to be called.

        Args:
            learner: What computes losses.
            model: What it trains; a part of it.
        """
        return learner

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which the model runs."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def tensors(self, arrays: Batch) -> dict[str, Tensor]:
        """Return arrays as tensors on the device; the copy does not wait for the device."""
        if self.device.type == "cpu":
            return {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {
            name: torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)
            for name, array in arrays.items()
        }

    def share(self, indices_B: np.ndarray) -> Share:
        """Return what this process computes of a batch."""
        return Share(indices_B)

    def exchanging(self, learner: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return the context of one forward and backward pass.

        Args:
            learner: What `prepare` returned.
            last: Whether it is the last of its step, after which gradients are exchanged.
        """
        return contextlib.nullcontext()

    def clip(self, weights: Sequence[Tensor], max_norm: float) -> Tensor:
        """Shorten the whole gradient to a length; return its length before, on the device."""
        return torch.nn.utils.clip_grad_norm_(weights, max_norm, foreach=True).detach()

    def finite(self, weights: Sequence[Tensor]) -> bool:
        """Say whether all weights are finite numbers."""
        return bool(torch.stack([weight.detach().isfinite().all() for weight in weights]).all())

    def total(self, values: Sequence[float]) -> list[float]:
        """Return each value added up over all processes; the device is not waited for."""
        return list(values)

    def agreed(self, values: Sequence[float]) -> list[float]:
        """Return the values of process 0, for all to decide alike."""
        return list(values)

    def summed(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the device added up over all processes."""
        return tensor

    def collected(self, value: Any) -> list[Any]:
        """Return the value of each process, in order of rank."""
        return [value]

    def whole(self, learner: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Return the context in which the model itself may be called, by all processes alike."""
        return contextlib.nullcontext()

    def weights(self, model: PreTrainedModel) -> dict[str, Tensor]:
        """Return what a checkpoint must hold of a model, by name; tied weights once.

        The tensors are whole, and not copied where they are so already. Only process 0 gets them;
        all must ask.
        """
        found = {name: states.whole(tensor) for name, tensor in trainable_state(model).items()}
        return {} if self.rank else found

    def load_weights(self, model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
        """Bring back what `weights` returned, in any runtime.

        Raises:
            KeyError: A weight is missing, or there is one that the model does not have.
        """
        present = trainable_state(model)
        placed = {
            name: states.placed_like(weight, present.get(name, weight))
            for name, weight in weights.items()
        }
        load_trainable(model, placed)

    def finish(self, model: nn.Module) -> None:
        """Make the model of process 0 a whole one, to be saved; it is not called again."""
        return

    def optimizer_state(self, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        """Return the optimizer's state by names of weights, its tensors as `weights` does."""
        found = states.whole_optimizer(model, optimizer)
        return {} if self.rank else found

    def load_optimizer(self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Bring a state back that `optimizer_state` returned, in any runtime."""
        states.load_optimizer(model, optimizer, state)

    @property
    def repeats(self) -> bool:
        """Whether a step that failed may be tried again: alone it may, beside others they wait."""
        return self.world == 1

    @property
    def waits(self) -> bool:
        """Whether reading a value from the device makes the processor wait."""
        return self.device.type != "cpu"


def device_type(wanted: str) -> str:
    """Return the kind of device to train on.

    Args:
        wanted: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ResourceError: A GPU is asked for and torch can use none (``TRAIN-008``).
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ResourceError("TRAIN-008")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def single(kind: SingleRuntime) -> Runtime:
    """Return one process on the best device, or the one asked for.

    Raises:
        ResourceError: A GPU is asked for and torch can use none (``TRAIN-008``).
        ConfigError: Somebody else started several of these processes (``TRAIN-121``).
    """
    refuse_foreign_launch()
    device = torch.device(device_type(kind.device))
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    return Runtime(device, kind.num_threads or num_cores())
