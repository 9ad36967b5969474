"""Weights in Python's pickle format: read only where the user allows it, and tensors only.

Reading a pickle may run code. Whether it is read at all is a decision about a whole process, so
that none of its parts, threads included, is more generous than the user.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")

_allowed = False


@contextlib.contextmanager
def pickles_allowed(allowed: bool) -> Iterator[None]:
    """Let this process read pickled weights meanwhile, where it is allowed."""
    global _allowed
    before = _allowed
    _allowed = allowed
    try:
        yield
    finally:
        _allowed = before


def may_unpickle(folder: Path) -> bool:
    """Say whether a folder holds pickled weights that may be read."""
    return _allowed and any((folder / name).is_file() for name in PICKLED)
