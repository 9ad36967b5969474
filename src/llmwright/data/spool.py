"""Canonical rows on disk between reading and splitting, so that memory stays bounded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl

from llmwright.core.files import disk_errors
from llmwright.data.content import all_texts
from llmwright.data.records import COLUMNS, SPLITS, RowType, SplitName

Row = dict[str, Any]

_PART_ROWS = 20_000
_PART_CHARS = 32_000_000
# Fixed, so that the same rows always become the same bytes.
_ROW_GROUP_ROWS = 20_000

_TYPES: dict[str, Any] = {
    "text": pl.String,
    "name": pl.String,
    "texts": pl.List(pl.String),
    "names": pl.List(pl.String),
    "number": pl.Float64,
    "bool": pl.Boolean,
    "bools": pl.List(pl.Boolean),
    "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
}
_ORIGIN = {"source": pl.String, "row": pl.Int64, "group": pl.String}


class Spool:
    """Rows in the order they were read, in Parquet parts.

    Args:
        folder: Temporary folder; emptied before and removed afterwards.
        row_type: Canonical row type.
        controls: Columns of which each row has a mapping ``controls``.
    """

    def __init__(self, folder: Path, row_type: RowType, controls: Sequence[str] = ()) -> None:
        self.folder = folder
        self.num_rows = 0
        names = COLUMNS[row_type]
        # By name: two controls in another order are another type.
        styles = pl.Struct(dict.fromkeys(sorted(controls), pl.String))
        self._types = {name: _TYPES[kind] for name, kind in names.items()} | {"controls": styles}
        self._parts: list[Path] = []
        self._held: list[Row] = []
        self._held_chars = 0
        self._columns: list[str] = []

    def __enter__(self) -> Self:
        shutil.rmtree(self.folder, ignore_errors=True)
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, row: Row) -> None:
        """Append one row."""
        self.num_rows += 1
        self._held.append(row)
        self._held_chars += sum(map(len, all_texts(row)))
        if len(self._held) >= _PART_ROWS or self._held_chars >= _PART_CHARS:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        # All rows of a dataset come from one shape, so the first one knows the columns.
        self._columns = self._columns or [
            *(name for name in self._types if name in self._held[0]),
            *(name for name in _ORIGIN if name in self._held[0]),
        ]
        path = self.folder / f"part-{len(self._parts):06d}.parquet"
        with disk_errors(path):
            self._frame(self._held).write_parquet(path)
        self._parts.append(path)
        self._held, self._held_chars = [], 0

    def _frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        types = {**self._types, **_ORIGIN}
        return pl.DataFrame(
            {name: [row[name] for row in rows] for name in self._columns},
            schema={name: types[name] for name in self._columns},
        )

    def cut(self, index: int, pieces: Callable[[Row], Sequence[Row]]) -> None:
        """Put pieces of a row in its place.

        Args:
            index: The row's number, from 0.
            pieces: Returns them.
        """
        self._flush()
        for path in self._parts:
            frame = pl.read_parquet(path, glob=False)
            if index < frame.height:
                found = self._frame(pieces(frame.row(index, named=True)))
                self.num_rows += found.height - 1
                with disk_errors(path):
                    pl.concat([frame[:index], found, frame[index + 1 :]]).write_parquet(path)
                return
            index -= frame.height

    def write(
        self,
        splits: Sequence[SplitName | None],
        folder: Path,
        dropped: Callable[[Row], None],
    ) -> dict[str, int]:
        """Write ``<split>.parquet`` files and return the rows in each.

        Args:
            splits: The split of each row, None for a row to leave out.
            folder: Where the files go.
            dropped: Called with each row that is left out.
        """
        self._flush()
        parts: dict[SplitName, list[Path]] = {name: [] for name in SPLITS}
        with disk_errors(folder):
            for frame, names in self._shares(splits):
                for name in SPLITS:
                    chosen = frame.filter(names == name)
                    path = self.folder / f"{name}-{len(parts[name]):06d}.parquet"
                    chosen.write_parquet(path)
                    parts[name].append(path)
                for row in frame.filter(names.is_null()).iter_rows(named=True):
                    dropped(row)
            filled = [name for name in SPLITS if name in splits]
            for name in filled:
                table = pl.scan_parquet(parts[name], glob=False)
                table.sink_parquet(folder / f"{name}.parquet", row_group_size=_ROW_GROUP_ROWS)
        return {name: splits.count(name) for name in filled}

    def _shares(
        self, splits: Sequence[SplitName | None]
    ) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
        start = 0
        for path in self._parts:
            frame = pl.read_parquet(path, glob=False)
            yield frame, pl.Series(splits[start : start + frame.height], dtype=pl.String)
            start += frame.height
