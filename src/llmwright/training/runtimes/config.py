"""Runtimes: where the loop runs."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from llmwright.core.config import Kind
from llmwright.core.registry import Registry

_CONFIG = "llmwright.training.runtimes.config"

# `build()` returns a `training.runtimes.runtime.Runtime`: devices, processes, and what moves
# between them.
RUNTIMES: Registry[type[Kind]] = Registry("runtime", {"single": f"{_CONFIG}:SingleRuntime"})


class SingleRuntime(Kind):
    """One process: on the GPU where there is one, else on the processor's cores."""

    implementation: ClassVar[str] = "llmwright.training.runtimes.runtime:single"

    kind: Literal["single"] = "single"
    """Name of this runtime."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU that torch can use, else the processor."""
    num_threads: int | None = Field(None, ge=1)
    """Processor threads torch uses; all cores this process may use when not given."""
