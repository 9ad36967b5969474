"""Parquet tables."""

from __future__ import annotations

from collections.abc import Iterator

from llmwright.core.errors import InputError
from llmwright.data.readers.record import ReadRequest, Record, Rejection

_BATCH_ROWS = 20_000


def read_parquet(request: ReadRequest) -> Iterator[Record | Rejection]:
    """Yield the rows of a Parquet file, a batch at a time.

    Raises:
        InputError: No readable Parquet (``DATA-020``), or no rows (``DATA-014``).
    """
    import polars as pl
    from polars.exceptions import PolarsError

    try:
        table = pl.scan_parquet(request.path, glob=False)
        num_rows = int(table.select(pl.len()).collect().item())
        if num_rows == 0:
            raise InputError("DATA-014", path=request.name)
        # Tools without missing numbers write NaN for them.
        for start in range(0, num_rows, _BATCH_ROWS):
            batch = table.slice(start, _BATCH_ROWS).fill_nan(None).collect()
            for number, values in enumerate(batch.iter_rows(named=True), start=start + 1):
                yield Record(number, None, values)
    except (PolarsError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise InputError("DATA-020", path=request.name, reason=reason) from error
