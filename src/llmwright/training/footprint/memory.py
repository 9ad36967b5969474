"""How much memory a training run will take: its own step, run on tensors without content.

`simulate` runs a step of THE loop on fake copies of model and optimizer: every operation comes,
forward, backward and update, only nothing is computed and nothing allocated. What each operation
would have allocated is counted, and freed when the last reference goes, as it would be. So the
largest batch of a run is known before any memory is taken for it, whatever the architecture, the
objective and the optimizer are.

    peak = process + weights + gradients + optimizer + activations + logits + checkpoint + allocator
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmwright.core.hardware import memory
from llmwright.training.learner import Learner
from llmwright.training.loop import Group, Trainee, clip, gradients
from llmwright.training.objectives.objective import Objective
from llmwright.training.safety.memory import micro_batches
from llmwright.training.safety.randomness import unused_randomness
from llmwright.training.state import State

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What is taken beside activations and logits, as a share of them: freed blocks that glibc keeps,
# and the copies in which kernels lay them out (docs/planning.md has the measurements).
KEPT = 0.9
# oneDNN compiles a kernel for each product of each shape in bf16, and keeps that many.
KERNEL_BYTES, MOST_KERNELS = 350_000, 1024
PRODUCTS_PER_MATRIX = 3
# A GPU's caching allocator, whose blocks torch keeps and rounds.
KEPT_ON_GPU = 0.05
# Kernels, thread pools and scratch space that appear with the first steps: more with larger ones.
FIRST_STEPS_BYTES, FIRST_STEPS_SHARE, MOST_FIRST_STEPS_BYTES = 20_000_000, 0.4, 90_000_000
# Runs that cannot take more than this share of what is available are not simulated.
CERTAIN_SHARE = 0.25
ABOUT_AS_LARGE = 0.95
# The first epochs are looked through for the largest batch.
EPOCHS_LOOKED_AT = 2


@dataclass(frozen=True)
class Memory:
    """Predicted peak memory of a training run, in bytes, term by term.

    Attributes:
        process: Python, libraries and data: what the process holds before the first step, weights
            left out. 0 on a GPU.
        weights: Of the model, and of others that an objective needs.
        gradients: Of all weights that learn.
        optimizer: What the optimizer remembers.
        activations: Kept between forward and backward, and what operations take in passing.
        logits: Of the outputs, and their gradients.
        checkpoint: Copies of what learns and of the optimizer, written while training goes on.
            Where there is no room for them, training waits instead.
        allocator: What the allocator keeps of freed blocks, and kernels' own space.
        available: What could be taken now, beside what the process already has.
        rows: Rows of the largest batch.
        places: Tokens of it, padding included.
        device: ``cpu`` or ``cuda``.
    """

    process: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    checkpoint: int
    allocator: int
    available: int
    rows: int
    places: int
    device: str

    @property
    def peak(self) -> int:
        """All terms together."""
        return self.process + self.weights + self.still_to_take + self.checkpoint

    @property
    def still_to_take(self) -> int:
        """What must be there from now on: process and weights are, checkpoints can do without."""
        return self.gradients + self.optimizer + self.activations + self.logits + self.allocator

    @property
    def fits(self) -> bool:
        """Whether the machine has that much now."""
        return self.still_to_take <= self.available


class Count(TorchDispatchMode):
    """Counts what operations allocate and what is freed.

    Args:
        classes: Last dimension of logits; 0 where outputs are not counted apart.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._classes = classes
        self._known: dict[int, weakref.ref[Any]] = {}
        self.live = self.peak = self._live_logits = self.peak_logits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count what it returns."""
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                self.note(value)
        return made

    def note(self, tensor: Tensor) -> None:
        """Count a tensor's storage until nobody holds it."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        logits = size if tensor.ndim > 1 and tensor.shape[-1] == self._classes else 0

        def free(_: Any) -> None:
            del self._known[key]
            self.live -= size
            self._live_logits -= logits

        self._known[key] = weakref.ref(storage, free)
        self.live += size
        self._live_logits += logits
        if self.live > self.peak:
            self.peak, self.peak_logits = self.live, self._live_logits


def surely_fits(trainee: Trainee, max_tokens: int | None = None) -> bool:
    """Say whether a run is so small that nobody need simulate it; arguments as `predict_memory`.

    Holds as long as each matrix's output is not kept more than eight times, and each matrix makes
    no more than 64 values for each pair of tokens.
    """
    batches, model = trainee.batches, trainee.model
    group = largest_group(trainee, max_tokens)
    places, width = batches.num_places(group[0]), batches.num_places(group[0][:1])
    matrices = [w for w in model.parameters() if w.ndim >= 2]
    outputs = sum(int(w.shape[0]) for w in matrices)
    passing = 4 * places * (8 * outputs + 64 * width * len(matrices))
    states = 20 * sum(w.numel() for w in model.parameters())
    bound = passing + states + MOST_FIRST_STEPS_BYTES
    return bool(bound < CERTAIN_SHARE * available_bytes(trainee.runtime.device))


def predict_memory(trainee: Trainee, max_tokens: int | None = None) -> Memory:
    """Return what the largest step of a run takes, which has not begun.

    Args:
        trainee: As training begins with it; nothing of it is changed.
        max_tokens: Most tokens of a micro-batch; None for whole batches.
    """
    with unused_randomness():
        return simulate(trainee, largest_group(trainee, max_tokens))


def largest_group(trainee: Trainee, max_tokens: int | None = None) -> Group:
    """Return the parts of the step that takes most; arguments as `predict_memory`."""
    batches = trainee.batches
    whole = [b for epoch in range(EPOCHS_LOOKED_AT) for b in batches.epoch(epoch)]
    found = [part for b in whole for part in micro_batches(batches, b, max_tokens)]
    most = max(batches.num_places(indices_B) for indices_B in found)
    # Of those that are about as large, the one with the longest rows: attention may take the
    # square of the length.
    near = [b for b in found if batches.num_places(b) >= ABOUT_AS_LARGE * most]
    widest = max(near, key=lambda indices_B: batches.num_places(indices_B) / len(indices_B))
    # Where several parts make a step, the second one meets the gradients of the first.
    several = trainee.accumulate > 1 or len(found) > len(whole)
    return [widest] * (2 if several else 1)


def simulate(trainee: Trainee, group: Group) -> Memory:
    """Return the memory that one optimizer step takes, made without taking it."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    runtime, model = trainee.runtime, trainee.model
    copies = fake_copies([model, *modules_of(trainee.objective)], fake)
    # One after another with the same memory: what they share, their copies share.
    learner = Learner(*(copy.deepcopy(one, copies) for one in (model, trainee.objective)))
    actor = replace(
        trainee,
        model=learner.model,
        objective=learner.objective,
        learner=learner,
        optimizer=copy.deepcopy(trainee.optimizer, copies),
    )
    count = Count(num_outputs(model))
    with fake, count:
        for module in (actor.model, *modules_of(actor.objective)):
            for tensor in (*module.parameters(), *module.buffers()):
                count.note(tensor)
        weights = count.live
        gradients(actor, 0, group, 0.0)
        clip(actor)
        step, logits = count.peak - weights, count.peak_logits
        count.peak = 0
        actor.optimizer.step()
        actor.optimizer.zero_grad()
        states, update = count.live - weights, count.peak - weights
    learned = sum(w.numel() * w.element_size() for w in model.parameters() if w.requires_grad)
    # From the second step on, the optimizer's states are there all the time.
    passing = max(step - learned, update - learned - states)
    logits = min(logits, passing)
    on_gpu = runtime.device.type == "cuda"
    return Memory(
        process=0 if on_gpu else max(0, psutil.Process().memory_info().rss - weights),
        weights=weights,
        gradients=learned,
        optimizer=states,
        activations=passing - logits,
        logits=logits,
        checkpoint=0 if on_gpu else learned + states,
        allocator=allocator_bytes(trainee, learned + states, passing),
        available=available_bytes(runtime.device),
        rows=len(group[0]),
        places=trainee.batches.num_places(group[0]),
        device=runtime.device.type,
    )


def modules_of(objective: Objective) -> list[nn.Module]:
    """Return the networks that an objective holds itself, such as a head or a teacher."""
    return [value for value in vars(objective).values() if isinstance(value, nn.Module)]


def allocator_bytes(trainee: Trainee, fixed: int, passing: int) -> int:
    """Return what is taken beside the tensors of a step.

    Args:
        trainee: Says where, in which format, and how many shapes batches have.
        fixed: Bytes of gradients and optimizer.
        passing: Bytes of activations and logits.
    """
    taken = fixed + passing
    first = min(MOST_FIRST_STEPS_BYTES, FIRST_STEPS_BYTES + FIRST_STEPS_SHARE * taken)
    if trainee.runtime.device.type == "cuda":
        return round(KEPT_ON_GPU * taken + first)
    more = num_shapes(trainee) - 1
    kernels = min(MOST_KERNELS, more * num_products(trainee.model))
    in_bf16 = trainee.runtime.precision == "bf16"
    return round(KEPT * passing + first + kernels * KERNEL_BYTES * in_bf16)


def num_shapes(trainee: Trainee) -> int:
    """Return how many shapes batches have in the first epochs of a run."""
    batches, steps = trainee.batches, trainee.budget.total_steps(State())
    found = [b for epoch in range(EPOCHS_LOOKED_AT) for b in batches.epoch(epoch)]
    if math.isfinite(steps):
        found = found[: round(steps) * trainee.accumulate]
    return len({(len(indices_B), batches.num_places(indices_B)) for indices_B in found})


def num_products(model: PreTrainedModel) -> int:
    """Return how many kinds of matrix products one shape of batch leads to."""
    shapes = {tuple(w.shape) for w in model.parameters() if w.ndim == 2}
    # What an encoder reads and what a decoder writes have lengths of their own.
    sides = 2 if model.config.is_encoder_decoder else 1
    return PRODUCTS_PER_MATRIX * sides * len(shapes)


def fake_copies(modules: Sequence[nn.Module], fake: Any) -> dict[int, Any]:
    """Return id → copy without content of each weight and buffer, as `copy.deepcopy` takes it."""
    copies: dict[int, Any] = {}
    for module in modules:
        for weight in module.parameters():
            empty = fake.from_tensor(weight.detach())
            copies[id(weight)] = nn.Parameter(empty, requires_grad=weight.requires_grad)
        copies |= {id(buffer): fake.from_tensor(buffer.detach()) for buffer in module.buffers()}
    return copies


def num_outputs(model: PreTrainedModel) -> int:
    """Return the size of a generator's vocabulary; 0 where outputs are a few labels."""
    head = model.get_output_embeddings()
    return 0 if head is None else int(head.weight.shape[0])


def available_bytes(device: torch.device) -> int:
    """Return what a run could still take on a device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory().available_bytes
