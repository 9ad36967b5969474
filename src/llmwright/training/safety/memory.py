"""Micro-batches: a step that does not fit into memory is computed in smaller parts.

The loss of a step is a sum divided by the targets of the whole step, so its gradient stays the
same however its batches are cut.

Shapes: B rows.
"""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from llmwright.core.errors import ResourceError
from llmwright.core.locale import text
from llmwright.training.data.batching import Batches

T = TypeVar("T")

# How torch and its libraries say on a processor, and outside of torch's own allocator on a GPU,
# that an allocation failed; on Windows the first one reads "not enough memory".
SIGNS = (
    "defaultcpuallocator",
    "std::bad_alloc",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cuda error: out of memory",
    # oneDNN has one sentence for whatever it could not get.
    "could not create a primitive",
    "could not execute a primitive",
    "could not create a memory object",
)


class Attempt:
    """Runs something that may find no memory, and says whether it got through.

    What a failed call left is free only once its error is gone, with the frames it holds; so
    whoever tries again does it outside of any ``except`` block.

    Attributes:
        failed: Whether memory ran out.
        reason: What was said then.
    """

    failed: bool = False
    reason: str = ""

    def __call__(self, work: Callable[[], T]) -> T | None:
        """Return what ``work`` returns; None when memory ran out, and `failed` then says so."""
        try:
            return work()
        except (MemoryError, RuntimeError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            self.reason = str(error).partition("\n")[0][:200]
        self.failed = True
        free()
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory, of the machine or of a GPU, ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in said for sign in SIGNS)


def free() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def micro_batches(
    batches: Batches, indices_B: np.ndarray, max_tokens: int | None
) -> list[np.ndarray]:
    """Return a batch cut in halves, and these again, until each has few enough tokens.

    Args:
        batches: Count the tokens.
        indices_B: The batch.
        max_tokens: Most tokens in a part, padding not counted; None leaves the batch whole. A
            single row is never cut.
    """
    whole = max_tokens is None or len(indices_B) < 2
    if whole or batches.count_tokens(indices_B) <= (max_tokens or 0):
        return [indices_B]
    middle = (len(indices_B) + 1) // 2
    halves = (indices_B[:middle], indices_B[middle:])
    return [part for half in halves for part in micro_batches(batches, half, max_tokens)]


def halved(batches: Batches, parts: Sequence[np.ndarray], reason: str) -> int:
    """Return the most tokens of a micro-batch with which the largest part would be cut in two.

    Args:
        batches: Count the tokens.
        parts: Micro-batches that did not fit.
        reason: What was said about it, for the error.

    Raises:
        ResourceError: Each of them is a single row (``TRAIN-130``).
    """
    several = [part for part in parts if len(part) > 1]
    if not several:
        largest = max(batches.count_tokens(part) for part in parts)
        raise ResourceError("TRAIN-130", tokens=largest, reason=reason)
    largest_part = max(several, key=batches.count_tokens)
    middle = (len(largest_part) + 1) // 2
    return max(
        batches.count_tokens(largest_part[:middle]), batches.count_tokens(largest_part[middle:])
    )


def in_fitting_parts(
    batches: Batches,
    indices_B: np.ndarray,
    max_tokens: int | None,
    work: Callable[[np.ndarray], None],
    repeats: bool,
) -> int | None:
    """Do something with each part of a batch, cut smaller wherever memory runs out.

    Args:
        batches: Count the tokens.
        indices_B: The batch.
        max_tokens: Most tokens in a part to begin with; None for the whole batch.
        work: Is done for each part; what fails must leave nothing behind.
        repeats: Whether it may be done again: other processes may wait for this one.

    Returns:
        The most tokens in a part at the end.

    Raises:
        ResourceError: A single row does not fit (``TRAIN-130``), or what failed cannot be done
            again (``TRAIN-131``).
    """
    left = micro_batches(batches, indices_B, max_tokens)
    while left:
        attempt = Attempt()
        attempt(partial(work, left[0]))
        if not attempt.failed:
            left.pop(0)
            continue
        if not repeats:
            raise ResourceError("TRAIN-131")
        max_tokens = halved(batches, left[:1], attempt.reason)
        left = [part for i_B in left for part in micro_batches(batches, i_B, max_tokens)]
        free()
    return max_tokens


def after_kills(batches: Batches, max_tokens: int | None, kills: int, epoch: int) -> int | None:
    """Return the most tokens of a micro-batch for a run that was killed for lack of memory.

    Nobody knows with which batch it happened: the largest one is halved as often as it happened.

    Args:
        batches: What is computed.
        max_tokens: Most tokens of a micro-batch so far; None for whole batches.
        kills: How often it was killed.
        epoch: The present one, whose batches count.

    Raises:
        ResourceError: Single rows were not few enough either (``TRAIN-130``).
    """
    planned = batches.epoch(epoch)
    for _ in range(kills):
        parts = [part for i_B in planned for part in micro_batches(batches, i_B, max_tokens)]
        max_tokens = halved(batches, parts, text("training.was_killed"))
    return max_tokens
