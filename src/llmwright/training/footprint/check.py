"""Whether a run fits into memory, said before it begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llmwright.core.errors import ResourceError
from llmwright.core.locale import text
from llmwright.training.acceleration.parts import can_checkpoint, use_checkpointing
from llmwright.training.config import TrainConfig
from llmwright.training.footprint.memory import (
    Memory,
    largest_group,
    predict_memory,
    surely_fits,
)
from llmwright.training.loop import Trainee
from llmwright.training.safety.memory import halved

Notice = Callable[..., None]


# Most tokens of a micro-batch that leave each row alone.
ROW_BY_ROW = 1


class Outlook(NamedTuple):
    """What is known of a run's memory before its first step.

    Attributes:
        memory: What it will take; None where that need not or cannot be foreseen.
        max_tokens: Most tokens of a micro-batch with which it takes that; None for whole batches.
    """

    memory: Memory | None
    max_tokens: int | None


def check_memory(
    config: TrainConfig, trainee: Trainee, notice: Notice, max_tokens: int | None = None
) -> Outlook:
    """Return what a run will take, in parts that fit where whole batches do not.

    Args:
        config: Says what happens to a run that does not fit.
        trainee: Before its first step.
        notice: Receives sentences.
        max_tokens: Most tokens of a micro-batch, where the run is known to need smaller ones.

    Raises:
        ResourceError: It does not fit (``TRAIN-150``).
    """
    if config.memory_check == "off" or surely_fits(trainee, max_tokens):
        return Outlook(None, max_tokens)
    if trainee.runtime.world > 1:
        notice(text("training.memory_shared"))
        return Outlook(None, max_tokens)
    outlook = foreseen(config, trainee, notice, max_tokens)
    if outlook.memory is not None and not outlook.memory.fits:
        refuse(config, outlook.memory, notice)
    return outlook


def foreseen(
    config: TrainConfig, trainee: Trainee, notice: Notice, max_tokens: int | None = None
) -> Outlook:
    """Return what a run will take and in which parts; why, where its step cannot be simulated.

    Batches that do not fit are computed in parts: the same result. Where single rows do not fit
    either, and it is left open whether activations are kept, the model keeps few of them from here
    on. Nothing is changed where nobody wants memory to be looked at. Arguments as for
    `check_memory`.
    """
    if config.memory_check == "off":
        return Outlook(_simulated(trainee, notice, max_tokens), max_tokens)
    found = _in_fitting_parts(trainee, notice, max_tokens)
    short = found.memory is not None and not found.memory.fits
    if short and config.checkpointing == "auto" and can_checkpoint(trainee.model):
        use_checkpointing(trainee.model)
        notice(text("training.checkpointing_needed"))
        found = _in_fitting_parts(trainee, notice, max_tokens)
    if found.memory is not None and found.memory.fits and found.max_tokens != max_tokens:
        notice(text("training.parts_foreseen", tokens=found.max_tokens))
    return found


def _in_fitting_parts(trainee: Trainee, notice: Notice, max_tokens: int | None) -> Outlook:
    """Return the first of ever smaller parts that fits; single rows where none does."""
    memory = _simulated(trainee, notice, max_tokens)
    if memory is None or memory.fits or memory.rows == 1:
        return Outlook(memory, max_tokens)
    least = _simulated(trainee, notice, ROW_BY_ROW)
    if least is None or not least.fits:
        return Outlook(least, ROW_BY_ROW)
    while memory is not None and not memory.fits and memory.rows > 1:
        max_tokens = halved(trainee.batches, largest_group(trainee, max_tokens), "")
        memory = _simulated(trainee, notice, max_tokens)
    return Outlook(memory, max_tokens)


def _simulated(trainee: Trainee, notice: Notice, max_tokens: int | None) -> Memory | None:
    try:
        return predict_memory(trainee, max_tokens)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        # A model that looks at its own values, or a kernel that torch cannot run without them.
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        notice(text("training.memory_unknown", reason=reason), "warning")
        return None


def refuse(config: TrainConfig, memory: Memory, notice: Notice) -> None:
    """Stop a run that does not fit, or warn of it, with what would help.

    Raises:
        ResourceError: It is to be refused (``TRAIN-150``).
    """
    values: dict[str, str] = {
        "needed": gigabytes(memory.still_to_take),
        "available": gigabytes(memory.available),
        "terms": described(memory),
        "help": text("training.memory_or").join(remedies(config, memory)),
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


def remedies(config: TrainConfig, memory: Memory) -> list[str]:
    """Return what would make a run fit that does not even row by row, the mildest first."""
    found = []
    if config.checkpointing is False:
        found.append(text("training.memory_checkpointing"))
    if config.adapter.kind == "full":
        learned = gigabytes(memory.gradients + memory.optimizer)
        found.append(text("training.memory_lora", saved=learned))
    return [*found, text("training.memory_machine")]
