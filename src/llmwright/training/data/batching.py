"""Which rows come together in a batch, and in what order: the same for the same seed and epoch.

Rows of similar length share a batch, so that little padding is computed. Plain text is one stream
of tokens, cut into blocks at other places in every epoch.

Shapes: B rows, T tokens, N tokens of the stream, D texts in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from llmwright.data.records import Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Batch, Encoding, Example

# Rows are sorted by length within pools of this many batches: enough to leave hardly any padding,
# few enough that the order of an epoch stays random.
POOL_BATCHES = 64


class Batches(ABC):
    """Batches of one split.

    Attributes:
        num_tokens: Tokens in one epoch, padding not counted.
        num_examples: Examples in one epoch.
        limits: Most rows and tokens of a batch, as given, for the record.
    """

    num_tokens: int
    num_examples: int
    limits: dict[str, int | None]

    def __init__(self) -> None:
        self._attached: dict[str, np.ndarray] = {}

    @abstractmethod
    def num_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has."""

    @abstractmethod
    def epoch(self, epoch: int) -> Sequence[np.ndarray]:
        """Return the indices of each batch of an epoch, in order."""

    @abstractmethod
    def collate(self, indices_B: np.ndarray, epoch: int) -> Batch:
        """Return the arrays of one batch."""

    @abstractmethod
    def count_tokens(self, indices_B: np.ndarray) -> int:
        """Return the tokens of one batch, padding not counted."""

    @abstractmethod
    def num_places(self, indices_B: np.ndarray) -> int:
        """Return the places for tokens of one batch, padding included."""

    @abstractmethod
    def rows(self, indices_B: np.ndarray, epoch: int) -> list[int]:
        """Return which rows of the split a batch was made from."""

    def attach(self, name: str, values_N: np.ndarray) -> None:
        """Give each example values of its own, which come with every batch it is in."""
        self._attached[name] = values_N

    def _with_own(self, batch: Batch, indices_B: np.ndarray, epoch: int) -> Batch:
        """Return a batch with what is its examples' own.

        That is what was attached to them, and ``keys`` (B, 2), epoch and index: whoever draws
        random numbers for an example begins with them.
        """
        keys_B2 = np.stack([np.full(len(indices_B), epoch), indices_B], axis=1)
        own = {name: values_N[indices_B] for name, values_N in self._attached.items()}
        return {**batch, **own, "keys": keys_B2}


def padding_share(batches: Batches) -> float:
    """Return how many of the first epoch's places for tokens hold padding, 0 to 1."""
    planned = batches.epoch(0)
    return 1 - sum(map(batches.count_tokens, planned)) / sum(map(batches.num_places, planned))


class BucketedRows(Batches):
    """Batches of rows of similar length, within limits of rows and tokens.

    Args:
        examples: Encoded rows.
        owners: For each example, the row it came from.
        encoding: Collates them.
        contract: What collation needs to know.
        batch_size: Most rows in a batch; None without a limit.
        batch_tokens: Most tokens in a batch, padding included; None without a limit.
        seed: Of the order; None keeps batches sorted by length (evaluation).
    """

    def __init__(
        self,
        examples: Sequence[Example],
        owners: Sequence[int] | np.ndarray,
        encoding: Encoding,
        contract: Contract,
        batch_size: int | None,
        batch_tokens: int | None,
        seed: int | None,
    ) -> None:
        super().__init__()
        self._examples = examples
        self.num_examples = len(examples)
        self._owners_N = np.asarray(owners)
        self._encoding = encoding
        self._contract = contract
        self._batch_size = batch_size or len(examples)
        self._seed = seed
        # Inputs and targets are padded apart, each to its own longest.
        self._widths_N2 = np.array([encoding.widths(example, contract) for example in examples])
        self._lengths_N = self._widths_N2.sum(axis=1)
        self._tokens_N = np.array([encoding.num_tokens(example) for example in examples])
        # A limit that no batch can reach would only cost planning.
        largest = self._batch_size * int(self._widths_N2.max(axis=0).sum())
        tight = batch_tokens is not None and largest > batch_tokens
        self._batch_tokens = batch_tokens if tight else None
        self._planned: tuple[int, list[np.ndarray]] | None = None
        self.limits = {"batch_size": batch_size, "batch_tokens": batch_tokens}
        self.num_tokens = int(self._tokens_N.sum())

    def num_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has; only a limit of tokens makes epochs differ."""
        if self._batch_tokens is None:
            return -(-len(self._examples) // self._batch_size)
        return len(self.epoch(epoch))

    def epoch(self, epoch: int) -> Sequence[np.ndarray]:
        """Return the indices of each batch of an epoch, in order."""
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._plan(epoch))
        return self._planned[1]

    def _plan(self, epoch: int) -> list[np.ndarray]:
        if self._seed is None:
            return list(self._cut(np.arange(len(self._examples))))
        random = np.random.default_rng([self._seed, epoch])
        order_N = random.permutation(len(self._examples))
        pool = POOL_BATCHES * self._pool_rows()
        planned: list[np.ndarray] = []
        for start in range(0, len(order_N), pool):
            rows = order_N[start : start + pool]
            planned += self._cut(rows)
        # The short batch that is left at the end of the last pool comes anywhere, too.
        return [planned[index] for index in random.permutation(len(planned))]

    def _pool_rows(self) -> int:
        if self._batch_tokens is None:
            return self._batch_size
        rows = self._batch_tokens // max(1, int(self._lengths_N.mean()))
        return max(1, min(rows, self._batch_size))

    def _cut(self, rows_N: np.ndarray) -> list[np.ndarray]:
        """Return rows, the longest first, cut where the next one would break a limit.

        The first row of a batch decides how many others there is room for: batches of one width
        have the same shape.
        """
        # Stable: rows of the same length stay in the order they come in.
        sorted_N = rows_N[np.argsort(-self._lengths_N[rows_N], kind="stable")]
        if self._batch_tokens is None:
            size = self._batch_size
            return [sorted_N[s : s + size] for s in range(0, len(sorted_N), size)]
        batches, start, widest, widest_target = [], 0, 0, 0
        for end, (width, target) in enumerate(self._widths_N2[sorted_N].tolist()):
            wider, wider_target = max(widest, width), max(widest_target, target)
            full = (end + 1 - start) * (wider + wider_target) > self._batch_tokens
            if end > start and (full or end - start == self._batch_size):
                batches.append(sorted_N[start:end])
                start, wider, wider_target = end, width, target
            widest, widest_target = wider, wider_target
        batches.append(sorted_N[start:])
        return batches

    def collate(self, indices_B: np.ndarray, epoch: int) -> Batch:
        """Return the arrays of one batch, what is attached to its examples among them."""
        chosen = [self._examples[index] for index in indices_B]
        return self._with_own(self._encoding.collate(chosen, self._contract), indices_B, epoch)

    def count_tokens(self, indices_B: np.ndarray) -> int:
        """Return the tokens of one batch, padding not counted."""
        return int(self._tokens_N[indices_B].sum())

    def num_places(self, indices_B: np.ndarray) -> int:
        """Return the places for tokens of one batch, padding included."""
        return len(indices_B) * int(self._widths_N2[indices_B].max(axis=0).sum())

    def rows(self, indices_B: np.ndarray, epoch: int) -> list[int]:
        """Return which rows of the split a batch was made from."""
        return sorted(set(self.owners(indices_B).tolist()))

    def owners(self, indices_B: np.ndarray) -> np.ndarray:
        """Return the row of the split that each row of a batch was made from."""
        owners_B: np.ndarray = self._owners_N[indices_B]
        return owners_B


class TokenStream(Batches):
    """Blocks of one long stream of tokens, closed to a ring and cut at other places each epoch.

    A block has one token more than the model reads: the last one is only predicted.

    Args:
        stream_N: Ids of all texts, with their begin and end tokens.
        ends_D: Where each text ends in it.
        owners_D: The row of the split that each text came from.
        block_length: Tokens the model reads at once.
        batch_size: Most blocks in a batch; None without a limit.
        batch_tokens: Most tokens in a batch; None without a limit.
        seed: Of places and order.
    """

    def __init__(
        self,
        stream_N: np.ndarray,
        ends_D: np.ndarray,
        owners_D: Sequence[int] | np.ndarray,
        block_length: int,
        batch_size: int | None,
        batch_tokens: int | None,
        seed: int,
    ) -> None:
        super().__init__()
        self._stream_N, self._ends_D = stream_N, ends_D
        self._owners_D = np.asarray(owners_D)
        self._length = max(1, min(block_length, len(self._stream_N) - 1))
        self._num_blocks = max(1, len(self._stream_N) // self._length)
        sizes = [batch_size or self._num_blocks]
        if batch_tokens is not None:
            sizes.append(max(1, batch_tokens // self._length))
        self._batch_size = min(sizes)
        self.limits = {"batch_size": batch_size, "batch_tokens": batch_tokens}
        self._seed = seed
        self._offsets_T = np.arange(self._length + 1)
        self.num_examples = self._num_blocks
        self.num_tokens = self._num_blocks * self._length

    def num_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has."""
        return -(-self._num_blocks // self._batch_size)

    def _shift(self, epoch: int) -> int:
        return int(np.random.default_rng([self._seed, epoch, 1]).integers(len(self._stream_N)))

    def _places(self, indices_B: np.ndarray, epoch: int) -> np.ndarray:
        """Return places_BT: where in the stream the tokens of blocks are."""
        starts_B1 = self._shift(epoch) + indices_B[:, None] * self._length
        places_BT: np.ndarray = (starts_B1 + self._offsets_T) % len(self._stream_N)
        return places_BT

    def epoch(self, epoch: int) -> Sequence[np.ndarray]:
        """Return the blocks of each batch of an epoch, in random order."""
        order = np.random.default_rng([self._seed, epoch]).permutation(self._num_blocks)
        size = self._batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def collate(self, indices_B: np.ndarray, epoch: int) -> Batch:
        """Return ``input_ids`` and ``labels``, both (B, T + 1); nothing is padded."""
        ids_BT = self._stream_N[self._places(indices_B, epoch)].astype(np.int64)
        return self._with_own({"input_ids": ids_BT, "labels": ids_BT}, indices_B, epoch)

    def count_tokens(self, indices_B: np.ndarray) -> int:
        """Return the tokens of one batch."""
        return len(indices_B) * self._length

    def num_places(self, indices_B: np.ndarray) -> int:
        """Return the tokens of one batch: nothing is padded."""
        return self.count_tokens(indices_B)

    def rows(self, indices_B: np.ndarray, epoch: int) -> list[int]:
        """Return which rows of the split a batch was made from."""
        places_BT = self._places(indices_B, epoch)
        texts = np.unique(np.searchsorted(self._ends_D, places_BT, side="right"))
        return sorted(set(self._owners_D[texts].tolist()))


def describe_rows(rows: Sequence[Row], indices: Sequence[int], most: int = 8) -> str:
    """Return where rows come from, as in ``train.csv:3, train.csv:17``, for a report."""
    shown = [f"{rows[i].get('source', '')}:{rows[i].get('row', i + 1)}" for i in indices[:most]]
    return ", ".join(shown) + (" …" if len(indices) > most else "")
