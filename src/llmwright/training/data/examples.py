"""Rows of a dataset as examples: encoded, cut to the model's length, counted.

Shapes: N tokens of a text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmwright.core.errors import InputError, LLMwrightError
from llmwright.core.locale import text
from llmwright.data.records import Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import IGNORE, Encoding, Example
from llmwright.training.data.batching import describe_rows
from llmwright.training.data.cache import TokenCache
from llmwright.training.data.stored import Piece, StoredExamples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

OnProgress = Callable[[int, int], None]
ROWS_BETWEEN_REPORTS = 2000


@dataclass(frozen=True)
class Examples:
    """One split, encoded.

    Attributes:
        rows: The rows it came from.
        examples: What the model reads.
        owners: For each example, the index of its row.
        num_cut: Rows that had to be cut.
        num_empty: Rows left out because nothing in them is to be learned.
        stream: Whether the examples are whole texts to be joined to one stream.
    """

    rows: Sequence[Row]
    examples: Sequence[Example]
    owners: np.ndarray
    num_cut: int = 0
    num_empty: int = 0
    stream: bool = False

    @classmethod
    def of(cls, rows: Sequence[Row], found: StoredExamples, split: str) -> Examples:
        """Return what the cache holds of a split.

        Raises:
            InputError: None of its rows holds anything to learn (``TRAIN-011``).
        """
        if not found:
            raise InputError("TRAIN-011", rows=len(rows), split=split)
        return cls(rows, found, found.owners_N, found.num_cut, found.num_empty)

    @property
    def mean_length(self) -> float:
        """Tokens of a mean input."""
        return float(np.mean([len(example.input_ids_T) for example in self.examples]))


def encode_rows(
    rows: Sequence[Row],
    encoding: Encoding,
    tokenizer: PreTrainedTokenizerFast,
    contract: Contract,
    split: str,
    stream: bool,
    cache: TokenCache,
    on_progress: OnProgress,
) -> Examples:
    """Return the examples of one split; encoded only where the cache does not have them.

    Args:
        rows: Canonical rows.
        encoding: Encodes them.
        tokenizer: The model's.
        contract: Lengths and labels.
        split: Name of the split, for errors.
        stream: Encode whole texts, to be joined to one stream.
        cache: Of the dataset, the encoding and the tokenizer.
        on_progress: Called with rows done and all rows, now and then.

    Raises:
        InputError: A row cannot be encoded (the encoding's error, with file and row), or none of
            them holds anything to learn (``TRAIN-011``).
    """

    def pieces() -> Iterator[Piece]:
        for index, row in enumerate(counted(rows, on_progress)):
            example = _encode(row, encoding, tokenizer, contract, stream)
            kept = [example] if encoding.has_target(example) else []
            yield Piece(index, kept, example.truncated)

    found = cache.keep(split, contract, {"stream": stream}, pieces)
    return replace(Examples.of(rows, found, split), stream=stream)


def counted(rows: Sequence[Row], on_progress: OnProgress) -> Iterator[Row]:
    """Yield the rows and report how many are done."""
    for index, row in enumerate(rows):
        if index % ROWS_BETWEEN_REPORTS == 0:
            on_progress(index, len(rows))
        yield row
    on_progress(len(rows), len(rows))


def without_begin(
    encoded: Examples, begin: int, contract: Contract, split: str, cache: TokenCache
) -> Examples:
    """Return whole texts without the begin token that each was encoded with."""

    def pieces() -> Iterator[Piece]:
        for example, owner in zip(encoded.examples, encoded.owners.tolist(), strict=True):
            ids_N = example.input_ids_T
            ids_N = ids_N[1:] if ids_N[0] == begin else ids_N
            yield Piece(owner, [Example(ids_N, ids_N)], False)

    found = cache.keep(split, contract, {"stream": True, "begin": False}, pieces)
    return replace(encoded, examples=found)


def encode_windows(
    rows: Sequence[Row],
    encoding: Encoding,
    tokenizer: PreTrainedTokenizerFast,
    contract: Contract,
    split: str,
    cache: TokenCache,
    on_progress: OnProgress,
) -> Examples:
    """Return the examples that scoring needs: a long text becomes several windows.

    Raises:
        InputError: As `encode_rows`.
    """

    def pieces() -> Iterator[Piece]:
        for index, row in enumerate(counted(rows, on_progress)):
            with located(row):
                parts = encoding.encode_parts(row, tokenizer, contract)
            kept = [example for example in parts if encoding.has_target(example)]
            yield Piece(index, kept, any(example.truncated for example in kept))

    found = cache.keep(split, contract, {"windows": True}, pieces)
    return Examples.of(rows, found, split)


def _encode(
    row: Row,
    encoding: Encoding,
    tokenizer: PreTrainedTokenizerFast,
    contract: Contract,
    stream: bool,
) -> Example:
    with located(row):
        if stream:
            ids_N = encoding.document(row, tokenizer, contract)
            return Example(ids_N, ids_N)
        return encoding.encode(row, tokenizer, contract)


@contextlib.contextmanager
def located(row: Row) -> Iterator[None]:
    """Add file and row to an error about a row."""
    try:
        yield
    except LLMwrightError as error:
        where = describe_rows([row], [0])
        raise type(error)(error.code, where=where, **error.values) from error


def label_counts(encoded: Examples, contract: Contract) -> tuple[np.ndarray | None, int]:
    """Return how often each label occurs, and the rows or tagged words; None without labels."""
    if not contract.labels:
        return None, 0
    labels = [example.labels for example in encoded.examples if example.labels is not None]
    if contract.multi_label:
        return np.sum(labels, axis=0), len(labels)
    joined = np.concatenate([np.atleast_1d(array) for array in labels])
    joined = joined[joined != IGNORE]
    return np.bincount(joined, minlength=len(contract.labels)), len(joined)


def report(encoded: Examples, split: str, contract: Contract, notice: Callable[..., None]) -> None:
    """Tell how many rows were cut or left out."""
    total = len(encoded.rows)
    if encoded.num_cut:
        sentence = text(
            "training.cut", count=encoded.num_cut, total=total, split=split,
            max_length=contract.max_length,
        )  # fmt: skip
        notice(sentence, "warning")
    if encoded.num_empty:
        sentence = text("training.empty", count=encoded.num_empty, total=total, split=split)
        notice(sentence, "warning")


def _within(
    row: Row, encoding: Encoding, tokenizer: PreTrainedTokenizerFast, contract: Contract
) -> list[Example]:
    """Return a row that is too long within the limits: cut, or in windows."""
    if not encoding.in_windows:
        return [_encode(row, encoding, tokenizer, contract, False)]
    with located(row):
        return encoding.encode_parts(row, tokenizer, contract)


def cut_again(
    encoded: Examples,
    encoding: Encoding,
    tokenizer: PreTrainedTokenizerFast,
    contract: Contract,
    split: str,
    cache: TokenCache,
) -> Examples:
    """Return examples that were encoded without limit within the limits of a contract.

    Only rows that are too long are encoded again.

    Raises:
        InputError: Nothing is left to learn (``TRAIN-011``).
    """
    limit, target_limit = contract.max_length, contract.max_target_length

    def fits(example: Example) -> bool:
        within = encoding.input_length(example) <= limit
        return within and encoding.target_length(example) <= (target_limit or limit)

    def pieces() -> Iterator[Piece]:
        for example, owner in zip(encoded.examples, encoded.owners.tolist(), strict=True):
            if fits(example):
                yield Piece(owner, [example], False)
                continue
            parts = _within(encoded.rows[owner], encoding, tokenizer, contract)
            kept = [part for part in parts if encoding.has_target(part)]
            yield Piece(owner, kept, any(part.truncated for part in parts))

    if all(fits(example) for example in encoded.examples):
        return encoded
    found = Examples.of(encoded.rows, cache.keep(split, contract, {"cut": True}, pieces), split)
    num_cut, num_empty = encoded.num_cut + found.num_cut, encoded.num_empty + found.num_empty
    return replace(found, num_cut=num_cut, num_empty=num_empty)
