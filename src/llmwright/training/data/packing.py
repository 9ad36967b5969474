"""Rows joined end to end, without padding; positions say where each one begins.

Shapes: B examples, T tokens of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.data.batching import BucketedRows


class PackedRows(BucketedRows):
    """Batches of rows in random order, as many as a limit of tokens allows, in one long row.

    Attention must keep them apart, as variable-length attention does by the positions.
    """

    def _plan(self, epoch: int) -> list[np.ndarray]:
        if self._seed is None:
            order_N = np.arange(self.num_examples)
        else:
            order_N = np.random.default_rng([self._seed, epoch]).permutation(self.num_examples)
        limit = self._batch_tokens or self.num_tokens
        planned: list[np.ndarray] = []
        start = total = 0
        for end, length in enumerate(self._tokens_N[order_N].tolist()):
            if end > start and (total + length > limit or end - start == self._batch_size):
                planned.append(order_N[start:end])
                start, total = end, 0
            total += length
        return [*planned, order_N[start:]]

    def num_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has."""
        return len(self.epoch(epoch))

    def num_places(self, indices_B: np.ndarray) -> int:
        """Return the tokens of one batch: nothing is padded."""
        return self.count_tokens(indices_B)

    def collate(self, indices_B: np.ndarray, epoch: int) -> Batch:
        """Return ``input_ids``, ``labels`` and ``position_ids``, (1, T) each."""
        chosen = [self._examples[index] for index in indices_B]
        ids = [example.input_ids_T for example in chosen]
        labels = [_learned(example.labels) for example in chosen if example.labels is not None]
        return {
            "input_ids": np.concatenate(ids)[None],
            "labels": np.concatenate(labels)[None],
            "position_ids": np.concatenate([np.arange(len(ids_T)) for ids_T in ids])[None],
        }


def _learned(labels_T: np.ndarray) -> np.ndarray:
    """Return labels without the first: nothing of its row stands before it."""
    return np.concatenate([[IGNORE], labels_T[1:]])


def rows_of_positions(positions_T: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return which of the joined rows each token belongs to, from 0."""
    return np.cumsum(np.asarray(positions_T) == 0) - 1
