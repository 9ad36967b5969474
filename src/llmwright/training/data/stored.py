"""Encoded rows on the disk, read through memory maps.

A folder holds for each field of an example (``input_ids_T``, ``labels``, what an encoding adds) one
flat file of numbers and one of the places where each example ends in it, and an index. A text whose
labels are its own tokens is kept once.

Shapes: N examples.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from llmwright.core import files
from llmwright.data.lazy import LazyList
from llmwright.tasks.task import Example

FORMAT = 1
INDEX, OWNERS, CUT = "index.json", "owners.bin", "truncated.bin"
IDS, LABELS, EXTRA = "input_ids_T", "labels", "extras."
PLAIN = (IDS, LABELS, "word_ids_T", "token_type_ids_T")
# Tokens and labels fit into half of what numpy takes for whole numbers.
KEPT_AS = {np.dtype(np.int64): np.dtype("<i4")}
# Examples read at a time when all are asked for.
BLOCK = 4096


@dataclass(frozen=True)
class Piece:
    """What became of one row.

    Attributes:
        owner: Its index.
        kept: Its examples; none where nothing in it is to be learned.
        cut: Whether it had to be cut.
    """

    owner: int
    kept: Sequence[Example]
    cut: bool


def fields_of(example: Example) -> dict[str, np.ndarray]:
    """Return the arrays that an example has, by name."""
    plain = {name: getattr(example, name) for name in PLAIN}
    extras = {EXTRA + name: value for name, value in example.extras.items()}
    return {n: np.asarray(value) for n, value in (plain | extras).items() if value is not None}


class Column:
    """Writes one field.

    Args:
        stem: Path of its files without their suffix.
        first: A value, to know the type of all.
        num_before: Examples before, which do not have it.
    """

    def __init__(self, stem: Path, first: np.ndarray, num_before: int) -> None:
        assert first.ndim < 2, f"{stem} has {first.ndim} dimensions"
        self.dtype, self.ndim = first.dtype, first.ndim
        self.kept_as = KEPT_AS.get(self.dtype, self.dtype)
        self.stem = stem
        self._values: IO[bytes] = stem.with_suffix(".bin").open("ab")
        self._ends: IO[bytes] = stem.with_suffix(".ends").open("ab")
        self._end = self._values.tell() // self.kept_as.itemsize
        for _ in range(num_before):
            self.add(None)

    def add(self, value: np.ndarray | None) -> None:
        """Append the value of the next example; None where it has none."""
        if value is None:
            # No end is below zero: such a number says where the one before ended.
            self._ends.write(np.int64(~self._end).tobytes())
            return
        kept = value.astype(self.kept_as)
        assert (value.dtype, value.ndim) == (self.dtype, self.ndim), "a field has one type"
        assert self.kept_as == self.dtype or (kept == value).all(), "a number is too large"
        self._values.write(kept.tobytes())
        self._end += kept.size
        self._ends.write(np.int64(self._end).tobytes())

    def close(self) -> None:
        """Close the files."""
        self._values.close()
        self._ends.close()

    def description(self) -> dict[str, Any]:
        """Return what the index says of the files."""
        return {
            "file": self.stem.name,
            "dtype": self.dtype.str,
            "kept_as": self.kept_as.str,
            "ndim": self.ndim,
            "num_values": self._end,
        }

    def copy(self, stem: Path) -> Column:
        """Return the column of another field, which was the same up to here."""
        self._values.flush()
        self._ends.flush()
        for suffix in (".bin", ".ends"):
            shutil.copyfile(self.stem.with_suffix(suffix), stem.with_suffix(suffix))
        return Column(stem, np.zeros((0,) * self.ndim, dtype=self.dtype), 0)


class Writer:
    """Writes examples one after the other; a context that closes its files.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, Column] = {}
        self._count = self._num_cut = self._num_empty = 0
        # As long as the labels of each example are its tokens, there is no column of them.
        self._labels_are_ids = True
        self._owners = (folder / OWNERS).open("wb")
        self._cut = (folder / CUT).open("wb")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all files."""
        self._owners.close()
        self._cut.close()
        for column in self._columns.values():
            column.close()

    def add(self, piece: Piece) -> None:
        """Append what became of the next row."""
        self._num_cut += piece.cut
        self._num_empty += not piece.kept
        for example in piece.kept:
            self._add(example)
            self._owners.write(np.int64(piece.owner).tobytes())
            self._cut.write(np.uint8(example.truncated).tobytes())

    def _add(self, example: Example) -> None:
        found = fields_of(example)
        if self._labels_are_ids and example.labels is example.input_ids_T:
            del found[LABELS]
        elif self._labels_are_ids:
            self._labels_are_ids = False
            if self._count:
                self._columns[LABELS] = self._columns[IDS].copy(self._next())
        for name in sorted(found.keys() - self._columns.keys()):
            self._columns[name] = Column(self._next(), found[name], self._count)
        for name, column in self._columns.items():
            column.add(found.get(name))
        self._count += 1

    def _next(self) -> Path:
        return self._folder / str(len(self._columns))

    def finish(self) -> None:
        """Write the index: what is there is whole."""
        self.__exit__()
        said = {
            "format": FORMAT,
            "num_examples": self._count,
            "num_cut": self._num_cut,
            "num_empty": self._num_empty,
            "labels_are_ids": self._labels_are_ids,
            "fields": {name: column.description() for name, column in self._columns.items()},
        }
        files.write_json(self._folder / INDEX, said)


def write(folder: Path, pieces: Iterator[Piece]) -> None:
    """Write what became of the rows of a split; few of them are in memory at a time."""
    with Writer(folder) as writer:
        for piece in pieces:
            writer.add(piece)
        writer.finish()


class Field:
    """Reads one field."""

    def __init__(self, folder: Path, said: dict[str, Any], num_examples: int) -> None:
        stem = folder / said["file"]
        self.dtype, self.ndim = np.dtype(said["dtype"]), said["ndim"]
        self.values = mapped(stem.with_suffix(".bin"), said["kept_as"], said["num_values"])
        self.ends_N = mapped(stem.with_suffix(".ends"), "<i8", num_examples)

    def between(self, start: int, stop: int) -> list[np.ndarray | None]:
        """Return the values of some examples that follow each other."""
        before = int(self.ends_N[start - 1]) if start else 0
        raw_N = np.asarray(self.ends_N[start:stop])
        ends_N = np.where(raw_N < 0, ~raw_N, raw_N)
        first = ~before if before < 0 else before
        last = int(ends_N[-1]) if len(ends_N) else first
        values = np.asarray(self.values[first:last]).astype(self.dtype)
        parts = np.split(values, ends_N[:-1] - first) if len(ends_N) else []
        return [
            None if raw < 0 else (part if self.ndim else part.reshape(()))
            for raw, part in zip(raw_N.tolist(), parts, strict=True)
        ]


def mapped(path: Path, dtype: str, length: int) -> np.ndarray:
    """Return the numbers of a file, read when they are used.

    Raises:
        ValueError: The file has another length.
    """
    if path.stat().st_size != length * np.dtype(dtype).itemsize:
        raise ValueError(f"{path} is damaged")
    if not length:
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")


class StoredExamples(LazyList[Example]):
    """Encoded rows of a folder that `write` filled; each is made anew when it is asked for.

    Attributes:
        owners_N: For each example, the index of its row.
        num_cut: Rows that had to be cut.
        num_empty: Rows left out because nothing in them is to be learned.

    Raises:
        OSError, ValueError, KeyError: The folder is not whole.
    """

    def __init__(self, folder: Path) -> None:
        said = files.read_json(folder / INDEX)
        if said["format"] != FORMAT:
            raise ValueError(f"{folder} has format {said['format']}")
        self._count: int = said["num_examples"]
        self.num_cut: int = said["num_cut"]
        self.num_empty: int = said["num_empty"]
        self._labels_are_ids: bool = said["labels_are_ids"]
        self.owners_N = mapped(folder / OWNERS, "<i8", self._count)
        self._cut_N = mapped(folder / CUT, "|u1", self._count)
        self._fields = {
            name: Field(folder, each, self._count) for name, each in said["fields"].items()
        }

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def between(self, start: int, stop: int) -> list[Example]:
        """Return some examples that follow each other."""
        columns = {name: field.between(start, stop) for name, field in self._fields.items()}
        return [
            self._example({name: column[i] for name, column in columns.items()}, bool(cut))
            for i, cut in enumerate(self._cut_N[start:stop])
        ]

    def _example(self, values: dict[str, np.ndarray | None], truncated: bool) -> Example:
        plain: dict[str, Any] = {name: values[name] for name in PLAIN if name in values}
        if self._labels_are_ids:
            plain[LABELS] = plain[IDS]
        extras = {
            name.removeprefix(EXTRA): value
            for name, value in values.items()
            if name.startswith(EXTRA) and value is not None
        }
        return Example(**plain, truncated=truncated, extras=extras)

    def item(self, place: int) -> Example:
        """Return one example."""
        return self.between(place, place + 1)[0]

    def __iter__(self) -> Iterator[Example]:
        """Yield all in order, a block of them in memory at a time."""
        for start in range(0, self._count, BLOCK):
            yield from self.between(start, min(start + BLOCK, self._count))

    def stream(self) -> tuple[np.ndarray, np.ndarray]:
        """Return stream_N, the tokens of all examples, and ends_D, where each ends; from the disk.

        Shapes: N tokens, D examples.
        """
        ids = self._fields[IDS]
        return ids.values, ids.ends_N
