"""torch.compile of a model's layers: where it pays, and only while losses are computed.

All layers of a stack are the same program, so compiling layer by layer costs one compilation and
leaves names and weights of the model as they are. Sizes of batches stay open in the program.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from llmwright.core.errors import ConfigError, ResourceError
from llmwright.core.locale import text
from llmwright.models.adapters.parts import stacks
from llmwright.models.adapters.virtual import has_prefix
from llmwright.training.config import Switch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmwright.training.budget import Budget
    from llmwright.training.runtimes.runtime import Runtime

# First measurements, on a busy machine (13.8M parameters, bf16): compiling took 8 to 10 s of
# processor time and a C++ compiler's, steps then 6 to 22 % less. A quarter of an hour is a guess
# that leaves room: the gain has to be worth another program.
MIN_SECONDS = 900.0
# Training costs about 6 operations per weight and token; what a core does of them in a second,
# measured with that model.
OPERATIONS_PER_TOKEN = 6
OPERATIONS_PER_SECOND = {"bf16": 1e11, "float32": 5e10}


class CompiledLayers:
    """Layers whose compiled form is used inside of `used` only.

    Validation, samples and probes run as they always do: for them alone it would not pay to compile
    the same layers for other modes.

    Args:
        layers: Are compiled when they are first called.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._calls = []
        for layer in layers:
            layer.compile(dynamic=True)
            self._calls.append((layer, layer._compiled_call_impl))
            layer._compiled_call_impl = None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Let the layers run compiled."""
        for layer, call in self._calls:
            layer._compiled_call_impl = call
        try:
            yield
        finally:
            for layer, _ in self._calls:
                layer._compiled_call_impl = None


def choose_compiled(
    wanted: Switch, model: PreTrainedModel, runtime: Runtime, budget: Budget
) -> tuple[CompiledLayers | None, str]:
    """Return the compiled layers, None when the model runs as it is, and a sentence that says why.

    Args:
        wanted: What the user says.
        model: As it will be trained, with its adapter.
        runtime: Where, and in which number format.
        budget: How long.

    Raises:
        ConfigError: It is asked for, and the model has no layers to compile (``TRAIN-180``).
        ResourceError: It is asked for, and there is no C++ compiler or no Python headers for it
            (``TRAIN-181``).
    """
    if wanted is False:
        return None, text("training.compile_off")
    layers, lacks = repeated_layers(model), missing(runtime)
    if wanted is True:
        if not layers:
            raise ConfigError("TRAIN-180", model=type(model).__name__)
        if lacks:
            raise ResourceError("TRAIN-181", missing=lacks)
    elif runtime.device.type != "cpu" or runtime.world > 1:
        return None, text("training.compile_elsewhere")
    elif not layers or lacks:
        return None, text("training.compile_impossible", reason=lacks or type(model).__name__)
    else:
        expected = expected_seconds(model, runtime, budget)
        if expected < MIN_SECONDS:
            return None, text(
                "training.compile_short",
                minutes=f"{expected / 60:.2g}",
                least=f"{MIN_SECONDS / 60:.0f}",
            )
    folder = kept_cache()
    return CompiledLayers(layers), text(
        "training.compile_on", layers=len(layers), folder=str(folder)
    )


def repeated_layers(model: PreTrainedModel) -> list[nn.Module]:
    """Return the layers of all stacks of two and more.

    Recurrent layers are loops that the compiler would unroll; a learned prefix comes to each layer
    as a cache of its own, which it would compile apart.
    """
    recurrent = any(isinstance(part, nn.RNNBase) for part in model.modules())
    if recurrent or has_prefix(model):
        return []
    return [
        model.get_submodule(name) for stack in stacks(model) if len(stack) > 1 for name in stack
    ]


def missing(runtime: Runtime) -> str:
    """Return what a processor's programs cannot be made without; empty when all is there."""
    if runtime.device.type != "cpu":
        return ""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return compiler
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return "" if header.is_file() else str(header)


def expected_seconds(model: PreTrainedModel, runtime: Runtime, budget: Budget) -> float:
    """Return about how long a run will take, from its size alone: the same in every start.

    A run that goes on after a stop must decide as it did before.
    """
    limits = [] if budget.max_seconds is None else [budget.max_seconds]
    tokens = [] if budget.max_tokens is None else [float(budget.max_tokens)]
    if budget.max_steps is not None:
        tokens.append(budget.max_steps * budget.tokens_per_step)
    speed = OPERATIONS_PER_SECOND[runtime.precision] * runtime.num_threads
    per_token = OPERATIONS_PER_TOKEN * model.num_parameters() / speed
    return float(min(limits + [count * per_token for count in tokens]))


def kept_cache() -> Path:
    """Return the folder where compiled programs stay from run to run, unless the user named one."""
    base = os.environ.get("XDG_CACHE_HOME")
    default = (Path(base) if base else Path.home() / ".cache") / "llmwright" / "compiled"
    return Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(default)))
