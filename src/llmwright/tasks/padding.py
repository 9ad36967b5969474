"""Rows of different lengths as one array, of a width that other batches have too.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Widths between two powers of two: a processor prepares its matrix products once for each shape of
# a batch, which costs more time and memory than a few places of padding (4 % on average).
WIDTHS_PER_OCTAVE = 8


def padded_width(longest: int, limit: int | None, ahead: int = 0) -> int:
    """Return the width of a batch: a little more than its longest row, as others are.

    Args:
        longest: Tokens of the longest row.
        limit: Width that padding never leads beyond; None without one.
        ahead: Tokens at the end of each row that are not read: the width without them is round.
    """
    read = max(1, longest - ahead)
    step = max(1, (1 << (read - 1).bit_length() >> 1) // WIDTHS_PER_OCTAVE)
    width = -(-read // step) * step + ahead
    return max(longest, width if limit is None else min(width, limit))


def pad_rows(
    rows: Sequence[np.ndarray], value: int, limit: int | None = None, ahead: int = 0
) -> np.ndarray:
    """Return rows of different lengths as one right-padded int64 array (B, T).

    Args:
        rows: Of integers.
        value: What the padding holds.
        limit: As in `padded_width`.
        ahead: Likewise.
    """
    width = padded_width(max(len(row) for row in rows), limit, ahead)
    padded_BT = np.full((len(rows), width), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded_BT[index, : len(row)] = row
    return padded_BT
