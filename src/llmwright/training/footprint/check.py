"""Whether a run fits into memory, said before it begins."""

from __future__ import annotations

from collections.abc import Callable

from llmwright.core.errors import ResourceError
from llmwright.core.locale import text
from llmwright.training.acceleration.parts import can_checkpoint, use_checkpointing
from llmwright.training.config import TrainConfig
from llmwright.training.footprint.memory import (
    Memory,
    predict_memory,
    surely_fits,
)
from llmwright.training.loop import Trainee

Notice = Callable[..., None]

# What is proposed keeps this much of the free memory free.
SPARED = 0.1


def check_memory(
    config: TrainConfig, trainee: Trainee, notice: Notice, max_tokens: int | None = None
) -> Memory | None:
    """Return the memory that a run will take; None where that need not or cannot be foreseen.

    Args:
        config: Says what happens to a run that does not fit.
        trainee: Before its first step.
        notice: Receives sentences.
        max_tokens: Most tokens of a micro-batch, where the run is known to need smaller ones.

    Raises:
        ResourceError: It does not fit (``TRAIN-150``).
    """
    if config.memory_check == "off" or surely_fits(trainee, max_tokens):
        return None
    if trainee.runtime.world > 1:
        notice(text("training.memory_shared"))
        return None
    memory = foreseen(config, trainee, notice, max_tokens)
    if memory is not None and not memory.fits:
        refuse(config, trainee, memory, notice)
    return memory


def foreseen(
    config: TrainConfig, trainee: Trainee, notice: Notice, max_tokens: int | None = None
) -> Memory | None:
    """Return the memory that a run will take; None, and why, where its step cannot be simulated.

    Where that is more than there is, and it is left open whether activations are kept, the model
    keeps few of them from here on. Arguments as for `check_memory`.
    """
    memory = _simulated(trainee, notice, max_tokens)
    fits = memory is None or memory.fits
    if fits or config.checkpointing != "auto" or not can_checkpoint(trainee.model):
        return memory
    use_checkpointing(trainee.model)
    notice(text("training.checkpointing_needed"))
    return _simulated(trainee, notice, max_tokens)


def _simulated(trainee: Trainee, notice: Notice, max_tokens: int | None) -> Memory | None:
    try:
        return predict_memory(trainee, max_tokens)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        # A model that looks at its own values, or a kernel that torch cannot run without them.
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        notice(text("training.memory_unknown", reason=reason), "warning")
        return None


def refuse(config: TrainConfig, trainee: Trainee, memory: Memory, notice: Notice) -> None:
    """Stop a run that does not fit, or warn of it, with what would help.

    Raises:
        ResourceError: It is to be refused (``TRAIN-150``).
    """
    values: dict[str, str] = {
        "needed": gigabytes(memory.still_to_take),
        "available": gigabytes(memory.available),
        "terms": described(memory),
        "help": text("training.memory_or").join(remedies(config, trainee, memory)),
    }
    if config.memory_check == "refuse":
        raise ResourceError("TRAIN-150", **values)
    notice(text("training.memory_short", None, **values), "warning")


def described(memory: Memory) -> str:
    """Return the terms that are still to be taken, the largest first."""
    names = ("gradients", "optimizer", "activations", "logits", "allocator")
    terms = sorted(((getattr(memory, name), name) for name in names), reverse=True)
    return ", ".join(f"{text(f'training.term_{name}')} {gigabytes(size)}" for size, name in terms)


def gigabytes(size: int) -> str:
    """Return a size as people read it."""
    return f"{size / 1e9:.2f} GB"


def remedies(config: TrainConfig, trainee: Trainee, memory: Memory) -> list[str]:
    """Return what would make a run fit, with figures, the mildest first."""
    found = []
    # What the allocator keeps grows with all that is taken.
    fixed = memory.gradients + memory.optimizer
    passing = memory.activations + memory.logits
    kept = memory.still_to_take / max(1, fixed + passing)
    share = ((1 - SPARED) * memory.available / kept - fixed) / max(1, passing)
    if memory.rows > 1 and 1 / memory.rows <= share < 1:
        tokens = int(memory.places * share)
        times = -(-memory.places // tokens) * config.accumulate
        found.append(text("training.memory_batch", tokens=tokens, accumulate=times))
    if config.checkpointing is False:
        found.append(text("training.memory_checkpointing"))
    learned = memory.gradients + memory.optimizer
    if config.adapter.kind == "full":
        found.append(text("training.memory_lora", saved=gigabytes(learned)))
    return found or [text("training.memory_machine")]
