"""What a dataset artifact is: canonical rows in Parquet files and ``dataset.json``.

Whatever format and shape the user's files have, after `prepare` there are eight row types, and
everything that follows reads only these. ``source``, ``row`` and, when asked for, ``group`` and
``controls`` come with each row.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from llmwright.core import files
from llmwright.core.errors import ConfigError, InputError, closest
from llmwright.data.lazy import LazyList

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, Any]
TaskName = Literal[
    "text-generation", "text-classification", "text-regression", "token-classification", "seq2seq"
]
RowType = Literal[
    "text", "pair", "messages", "classification", "regression", "tags", "preference", "flag"
]
SplitName = Literal["train", "validation", "test"]

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
INFO_FILE = "dataset.json"
REJECTED_FILE = "rejected.jsonl"
# Rows that are in memory at a time where a split is streamed.
STREAM_ROWS = 20_000
# Rows that are read together where single ones are asked for.
BLOCK_ROWS = 512

# Canonical columns of each row type: name → type. "messages" is a list of {role, content};
# columns in `OPTIONAL` may be missing from all rows of a dataset. "learn" says of each turn whether
# it is learned; without it those of the assistant are.
COLUMNS: dict[RowType, dict[str, str]] = {
    "text": {"text": "text"},
    "pair": {"input": "text", "target": "text"},
    "messages": {"messages": "messages", "learn": "bools"},
    "classification": {"text": "text", "text_pair": "text", "label": "name", "labels": "names"},
    "regression": {"text": "text", "text_pair": "text", "value": "number"},
    "tags": {"tokens": "texts", "tags": "names"},
    "preference": {"prompt": "messages", "chosen": "text", "rejected": "text"},
    "flag": {"prompt": "messages", "completion": "text", "flag": "bool"},
}
OPTIONAL = {"learn", "text_pair", "label", "labels"}


class SourceInfo(BaseModel):
    """One file that was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: str
    """Where it is, from the project's root where it lies below it."""
    sha256: str
    """Hash of the file's bytes."""
    format: str
    """Reader that was used, as in ``csv``."""
    encoding: str = ""
    """Encoding that was found or given; empty for Parquet."""
    num_records: int = 0
    """Records in the file, the rejected ones included."""


class Numbers(BaseModel):
    """What the numbers of the training rows look like; a model learns and answers by them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mean: float
    """Their mean."""
    std: float
    """Their standard deviation, above 0."""
    min: float
    """The least of them."""
    max: float
    """The largest of them."""


class DatasetInfo(BaseModel):
    """What ``dataset.json`` says about a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    task: TaskName
    """What the rows are for."""
    row_type: RowType
    """Canonical row type; decides the columns."""
    shape: str
    """Shape of the user's rows, as recognised or given (``alpaca``, ``classification``)."""
    fields: dict[str, str]
    """Canonical column → the user's own name of it (``{"input": "description"}``)."""
    labels: list[str] = []
    """Sorted label or tag names; empty for other row types."""
    multi_label: bool = False
    """Whether a row has a list of labels instead of one."""
    numbers: Numbers | None = None
    """Of rows with a number: mean, spread and range of the training rows."""
    controls: dict[str, list[str]] = {}
    """Styles: the user's column → its values in the training rows; rows have them as a mapping
    ``controls``, null where there is none."""
    preprocessing: list[dict[str, Any]] = []
    """Cleaners that turn text into text, in order; they also run at inference."""
    counts: dict[str, int] = {}
    """Rows in each split."""
    num_records: int = 0
    """Records read from all files."""
    num_rejected: int = 0
    """Records that could not be read or lack a needed value."""
    num_removed: int = 0
    """Rows that a cleaner or a leak rule removed."""
    reasons: dict[str, int] = {}
    """Reason → how many records did not get through for it; details in ``rejected.jsonl``."""
    sources: list[SourceInfo] = []
    """The files that were read."""
    split: dict[str, Any] = {}
    """How the splits were made: method, fractions, seed, group column."""


class Dataset:
    """A dataset folder, opened for reading; rows are loaded when they are asked for.

    Args:
        path: The folder.
        info: What ``dataset.json`` says.
    """

    def __init__(self, path: Path, info: DatasetInfo) -> None:
        self.path = path
        self.info = info

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Return the dataset in a folder.

        Raises:
            InputError: The folder has no valid ``dataset.json`` (``DATA-001``).
        """
        try:
            return cls(path, DatasetInfo.model_validate(files.read_json(path / INFO_FILE)))
        except (OSError, ValueError) as error:
            raise InputError("DATA-001", path=path) from error

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits that exist, in the order train, validation, test."""
        return tuple(name for name in SPLITS if self.info.counts.get(name))

    def frame(self, split: str) -> pl.DataFrame:
        """Return one split as a table.

        Raises:
            ConfigError: The dataset has no such split (``DATA-002``).
            InputError: Its file is damaged (``DATA-020``).
        """
        import polars as pl

        with self._file(split) as path:
            return pl.read_parquet(path, glob=False)

    def stream(
        self, split: str, columns: Sequence[str], indices: Sequence[int] | None = None
    ) -> Iterator[Row]:
        """Yield rows of one split with few of them in memory at a time.

        Args:
            split: Name of the split.
            columns: What to read; those that the split does not have are left out.
            indices: Rows to take, ascending from 0; all when not given.

        Raises:
            InputError: As `frame`.
        """
        import polars as pl

        with self._file(split) as path:
            table = pl.scan_parquet(path, glob=False)
            kept = [name for name in table.collect_schema().names() if name in columns]
            table = table.select(kept)
            num_rows = self.info.counts[split]
            for start in range(0, num_rows, STREAM_ROWS):
                end = min(start + STREAM_ROWS, num_rows)
                wanted = range(start, end) if indices is None else _between(indices, start, end)
                if wanted:
                    batch = table.slice(start, end - start).collect()
                    chosen = batch if indices is None else batch[[i - start for i in wanted]]
                    yield from chosen.iter_rows(named=True)

    @contextlib.contextmanager
    def _file(self, split: str) -> Iterator[Path]:
        """Within this block a split's file is read; what is wrong with it becomes clear errors."""
        from polars.exceptions import PolarsError

        if split not in self.splits:
            hint = closest(split, self.splits)
            raise ConfigError("DATA-002", path=self.path, split=split, hint=hint)
        path = self.path / f"{split}.parquet"
        try:
            yield path
        except (PolarsError, OSError) as error:
            reason = str(error).split("\n")[0]
            raise InputError("DATA-020", path=path, reason=reason) from error

    def slice(self, split: str, start: int, count: int) -> list[Row]:
        """Return some rows that follow each other, fewer at the end.

        Raises:
            InputError: As `frame`.
        """
        import polars as pl

        with self._file(split) as path:
            return pl.scan_parquet(path, glob=False).slice(start, count).collect().to_dicts()

    def view(self, split: str) -> Rows:
        """Return one split as canonical rows that are read when they are asked for.

        Raises:
            ConfigError: The dataset has no such split (``DATA-002``).
            InputError: Its file is damaged (``DATA-020``).
        """
        with self._file(split):
            return Rows(self, split)

    def rows(self, split: str) -> list[Row]:
        """Return one split as canonical rows.

        Raises:
            InputError: As `frame`.
        """
        return self.frame(split).to_dicts()


class Rows(LazyList[Row]):
    """The rows of a split, few of them in memory at a time.

    Args:
        dataset: Where they are.
        split: Name of the split.
    """

    def __init__(self, dataset: Dataset, split: str) -> None:
        self._dataset, self._split = dataset, split
        self._start, self._block = 0, list[Row]()

    def __len__(self) -> int:
        """Return how many there are."""
        return self._dataset.info.counts[self._split]

    def item(self, place: int) -> Row:
        """Return one row; neighbours are read together."""
        if not self._start <= place < self._start + len(self._block):
            self._start = place - place % BLOCK_ROWS
            self._block = self._dataset.slice(self._split, self._start, BLOCK_ROWS)
        return self._block[place - self._start]

    def __iter__(self) -> Iterator[Row]:
        """Yield all in order."""
        for start in range(0, len(self), STREAM_ROWS):
            yield from self._dataset.slice(self._split, start, STREAM_ROWS)


def _between(indices: Sequence[int], start: int, end: int) -> Sequence[int]:
    return indices[bisect.bisect_left(indices, start) : bisect.bisect_left(indices, end)]
