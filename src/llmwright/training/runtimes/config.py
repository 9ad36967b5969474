"""Runtimes: where the loop runs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from llmwright.core.config import Kind
from llmwright.core.registry import Registry, load_object

_CONFIG = "llmwright.training.runtimes.config"
_RUNTIMES = "llmwright.training.runtimes"

# `build()` returns a `training.runtimes.runtime.Runtime`: devices, processes, and what moves
# between them.
RUNTIMES: Registry[type[RuntimeKind]] = Registry(
    "runtime",
    {"single": f"{_CONFIG}:SingleRuntime", "torchrun": f"{_CONFIG}:TorchrunRuntime"},
)


class RuntimeKind(Kind):
    """Where the loop runs.

    Attributes:
        launcher: ``"module:name"`` of what starts other processes that train, called with this
            config and a `runtimes.launch.Assignment`; empty where training happens in the process
            that was asked for it.
    """

    launcher: ClassVar[str] = ""

    @property
    def machine(self) -> int:
        """Number of this machine among those that train together."""
        return 0

    def launch(self, *args: Any) -> Any:
        """Import the launcher and call it with this config first."""
        return load_object(self.launcher)(self, *args)


class SingleRuntime(RuntimeKind):
    """One process: on the GPU where there is one, else on the processor's cores."""

    implementation: ClassVar[str] = f"{_RUNTIMES}.runtime:single"

    kind: Literal["single"] = "single"
    """Name of this runtime."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU that torch can use, else the processor."""
    num_threads: int | None = Field(None, ge=1)
    """Processor threads torch uses; all cores this process may use when not given."""


class TorchrunRuntime(RuntimeKind):
    """Several processes that share each batch, one for each GPU, on one machine or more."""

    implementation: ClassVar[str] = f"{_RUNTIMES}.torchrun:build"
    launcher: ClassVar[str] = f"{_RUNTIMES}.launch:launch"

    kind: Literal["torchrun"] = "torchrun"
    """Name of this runtime."""
    num_processes: int | None = Field(None, ge=1)
    """Processes on this machine; one for each GPU when not given. On processors, say how many."""
    sharding: Literal["ddp", "fsdp2"] = "ddp"
    """What each process holds. `ddp`: the whole model; quickest where it fits. `fsdp2`: a share of
    weights, gradients and optimizer state, put together layer by layer while it computes: for
    models that do not fit into one GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes GPUs where torch can use some, else the processor."""
    num_threads: int | None = Field(None, ge=1)
    """Processor threads of each process; its share of the cores when not given."""
    num_nodes: int = Field(1, ge=1)
    """Machines. On each the same command is started, with its own `node_rank`, in a project folder
    that all of them share."""
    node_rank: int = Field(0, ge=0)
    """Number of this machine, from 0; machine 0 reports and saves."""
    master_address: str = "127.0.0.1"
    """Address of machine 0; with several machines only."""
    master_port: int = Field(29500, ge=1, le=65535)
    """Free port on machine 0; with several machines only."""

    @property
    def machine(self) -> int:
        """Number of this machine among those that train together."""
        return self.node_rank
