"""Where a run takes place: device, processes, number format. Accelerate does the distribution.

The loop speaks to the runtime only, so that another one (several processes, a cluster) needs no
other loop.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmwright.core.errors import ResourceError
from llmwright.core.hardware import num_cores
from llmwright.tasks.task import Batch
from llmwright.training.precision import Precision
from llmwright.training.runtimes.config import SingleRuntime

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Runtime:
    """One process and its device.

    Args:
        device: Where tensors live.
        num_threads: Processor threads torch uses.
    """

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
