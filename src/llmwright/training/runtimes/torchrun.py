"""Several processes that share each batch: DDP, where each holds the whole model, or FSDP2.

Both average gradients over processes, while our loss is a sum that is divided by the targets of
all of them; the loop therefore divides by their mean number.

Shapes: B rows.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from llmwright.core.errors import ResourceError
from llmwright.core.hardware import num_cores
from llmwright.training.runtimes import states
from llmwright.training.runtimes.config import TorchrunRuntime
from llmwright.training.runtimes.environment import MEETING, Place
from llmwright.training.runtimes.runtime import Runtime, Share, device_type

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DistributedRuntime(Runtime):
    """One of several processes, each with the whole model (DDP).

    Args:
        device: Of this process.
        num_threads: Processor threads torch uses.
        place: Which of the processes this is.
    """

    def __init__(self, device: torch.device, num_threads: int, place: Place) -> None:
        super().__init__(device, num_threads)
        self.rank, self.world = place.rank, place.world

    def prepare(self, learner: nn.Module, model: nn.Module) -> nn.Module:
        """Return a learner whose gradients are averaged while they are computed."""
        return DistributedDataParallel(
            learner,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            # The same numbers everywhere from the start, and nothing writes them in training.
            broadcast_buffers=False,
            # Poolers and the like have weights that no loss reaches.
            find_unused_parameters=True,
            gradient_as_bucket_view=True,
        )

    def share(self, indices_B: np.ndarray) -> Share:
        """Return every so many rows: neighbours in a batch are of similar length."""
        mine_B = indices_B[self.rank :: self.world]
        return Share(mine_B) if len(mine_B) else Share(indices_B[:1], counts=False)

    def exchanging(self, learner: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return the context of one pass; gradients are exchanged in the last one of a step."""
        assert isinstance(learner, DistributedDataParallel)
        return contextlib.nullcontext() if last else learner.no_sync()

    def total(self, values: Sequence[float]) -> list[float]:
        """Return each value added up over all processes; the device is not waited for."""
        sums = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    def agreed(self, values: Sequence[float]) -> list[float]:
        """Return the values of process 0, for all to decide alike."""
        said = torch.tensor(list(values), dtype=torch.float64)
        dist.broadcast(said, 0)
        return [float(value) for value in said]

    def summed(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the device added up over all processes."""
        dist.all_reduce(tensor)
        return tensor

    def collected(self, value: Any) -> list[Any]:
        """Return the value of each process, in order of rank."""
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found


class ShardedRuntime(DistributedRuntime):
    """One of several processes, each with a share of every weight (FSDP2)."""

    def place(self, model: PreTrainedModel) -> PreTrainedModel:
        """Leave a model where it is: whole, it may be too large for the device."""
        return model

    def prepare(self, learner: nn.Module, model: nn.Module) -> nn.Module:
        """Return a learner whose weights are spread, in units of the model's own layers."""
        mesh = init_device_mesh(self.device.type, (self.world,))
        for layer in layers_of(model):
            fully_shard(layer, mesh=mesh)
        # The very same module, its class exchanged for one that puts weights together.
        fully_shard(learner, mesh=mesh)
        return learner

    def exchanging(self, learner: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return the context of one pass; gradients are exchanged in the last one of a step."""
        assert isinstance(learner, FSDPModule)
        learner.set_requires_gradient_sync(last)
        return contextlib.nullcontext()

    def clip(self, weights: Sequence[Tensor], max_norm: float) -> Tensor:
        """Shorten the gradient, which is spread, to a length; return its length before."""
        norm = super().clip(weights, max_norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def finite(self, weights: Sequence[Tensor]) -> bool:
        """Say whether the parts of all processes are finite numbers."""
        parts = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in weights]
        [num_bad] = self.total([float(not super().finite(parts))])
        return num_bad == 0

    @contextlib.contextmanager
    def whole(self, learner: nn.Module) -> Iterator[None]:
        """Put together what is not part of a layer; layers do so themselves when called."""
        assert isinstance(learner, FSDPModule)
        # Which weights are put together when is decided at the first call, and only there.
        learner(None)
        learner.unshard()
        try:
            yield
        finally:
            learner.reshard()

    def finish(self, model: nn.Module) -> None:
        """Make the model of process 0 a whole one, to be saved; it is not called again."""
        states.make_whole(model, keep=self.rank == 0)


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return the repeated layers of a model: what its authors say may not be cut in two.

    Layers inside of others are left to them; a model that names none is one unit.
    """
    named = getattr(model, "_no_split_modules", None) or ()
    found: list[nn.Module] = []
    inside: set[int] = set()
    for module in model.modules():
        if type(module).__name__ in named and id(module) not in inside:
            found.append(module)
            inside.update(id(part) for part in module.modules())
    return found


def build(kind: TorchrunRuntime) -> DistributedRuntime:
    """Return the runtime of this process, after meeting all others.

    Raises:
        ResourceError: A GPU is asked for and torch can use none (``TRAIN-008``), or there are fewer
            GPUs than processes (``TRAIN-122``).
    """
    place = Place.here()
    type_ = device_type(kind.device)
    device = torch.device(type_)
    if type_ == "cuda":
        if place.local_rank >= torch.cuda.device_count():
            raise ResourceError(
                "TRAIN-122", processes=place.local_rank + 1, gpus=torch.cuda.device_count()
            )
        device = torch.device("cuda", place.local_rank)
        torch.cuda.set_device(device)
    meet(place, type_)
    threads = kind.num_threads or max(1, num_cores() // int(os.environ["LOCAL_WORLD_SIZE"]))
    runtime = ShardedRuntime if kind.sharding == "fsdp2" else DistributedRuntime
    return runtime(device, threads, place)


def meet(place: Place, device: str) -> None:
    """Wait for all processes; from here on they can send each other tensors.

    Values in memory go by gloo even on GPUs: exchanging them then waits for no device.
    """
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, os.environ[MEETING], rank=place.rank, world_size=place.world)
