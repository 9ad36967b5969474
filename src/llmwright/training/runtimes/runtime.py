"""Where a run takes place: device, processes, number format. Accelerate does the distribution.

The loop speaks to the runtime only, so that another one (several processes, a cluster) needs no
other loop.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmwright.core.errors import ResourceError
from llmwright.core.hardware import num_cores
from llmwright.tasks.task import Batch
from llmwright.training.adapters.adapter import load_trainable, trainable_state
from llmwright.training.precision import Precision
from llmwright.training.runtimes.config import SingleRuntime

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import PreTrainedModel


class Runtime:
    """One process and its device.

    Args:
        device: Where tensors live.
        num_threads: Processor threads torch uses.
    """

    # Number of this process; only 0 writes.
    rank: int = 0

    def __init__(self, device: str, num_threads: int) -> None:
        from accelerate import Accelerator

        torch.set_num_threads(num_threads)
        self.num_threads = num_threads
        # Number formats are ours: Accelerate's would turn all logits into float32.
        self.accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
        self.device: torch.device = self.accelerator.device
        self.precision: Precision = "float32"

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model, moved to the device."""
        prepared: PreTrainedModel = self.accelerator.prepare_model(model)
        return prepared

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

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to those of the step."""
        self.accelerator.backward(loss)

    def weights(self, model: PreTrainedModel) -> dict[str, Tensor]:
        """Return what a checkpoint must hold of a model, by name; tied weights once."""
        return trainable_state(model)

    def load_weights(self, model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
        """Bring back what `weights` returned.

        Raises:
            KeyError: A weight is missing, or there is one that the model does not have.
        """
        load_trainable(model, weights)

    def optimizer_state(self, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        """Return the optimizer's state; its tensors are not copied."""
        return optimizer.state_dict()

    def load_optimizer(self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Bring back what `optimizer_state` returned."""
        optimizer.load_state_dict(state)

    def collected(self, value: Any) -> list[Any]:
        """Return the value of each process, in order of rank."""
        return [value]

    @property
    def repeats(self) -> bool:
        """Whether a step that failed may be tried again: alone it may, beside others they wait."""
        return bool(self.accelerator.num_processes == 1)

    @property
    def waits(self) -> bool:
        """Whether reading a value from the device makes the processor wait."""
        return self.device.type != "cpu"


def single(kind: SingleRuntime) -> Runtime:
    """Return one process on the best device, or the one asked for.

    Raises:
        ResourceError: A GPU is asked for and torch can use none (``TRAIN-008``).
    """
    if kind.device == "cuda" and not torch.cuda.is_available():
        raise ResourceError("TRAIN-008")
    device = kind.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Runtime(device, kind.num_threads or num_cores())
