"""Finding passages by their words: BM25 (Lucene's form), by bm25s, as a share of what it could be.

Raw scores grow with the length of the question and the rarity of its words, so no threshold holds
for two folders. Divided by the sum of the weights of all words of the question, those that no
passage has included, they say which share of the question the passage speaks of.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009.

Shapes: N passages, W distinct words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmwright.core import files
from llmwright.knowledge.words import words

if TYPE_CHECKING:
    import bm25s

# Passages are cut to about one length: neither repetition nor length says much.
K1, B = 1.2, 0.5
WORDS = "words.json"


class Lexicon:
    """The words of all passages with their scores.

    Args:
        scorer: bm25s's index.
        places: Number of each word.
    """

    def __init__(self, scorer: bm25s.BM25, places: dict[str, int]) -> None:
        self._scorer = scorer
        self._places = places
        self._num_passages = int(scorer.scores["num_docs"])
        self._starts = scorer.scores["indptr"]

    @classmethod
    def build(cls, word_ids: Sequence[np.ndarray], places: dict[str, int], folder: Path) -> None:
        """Write the index of some passages.

        Args:
            word_ids: Numbers of each passage's words, in order.
            places: Number of each word.
            folder: Where to, an existing folder.
        """
        import bm25s

        scorer = bm25s.BM25(k1=K1, b=B, method="lucene")
        ids = [passage.tolist() for passage in word_ids]
        scorer.index((ids, places), create_empty_token=False, show_progress=False)
        # The words are written once, in the order of their numbers.
        scorer.vocab_dict = {}
        scorer.save(folder, show_progress=False)
        files.write_json(folder / WORDS, list(places))

    @classmethod
    def open(cls, folder: Path) -> Lexicon:
        """Return the index in a folder, its numbers left on the disk until they are used."""
        import bm25s

        scorer = bm25s.BM25.load(folder, mmap=True, load_vocab=False, show_progress=False)
        return cls(scorer, places_in(folder))

    def shares(self, question: str) -> np.ndarray:
        """Return how much of a question each passage speaks of, (N,), from 0 to below 1."""
        asked = words(question)
        known = [self._places[word] for word in asked if word in self._places]
        if not known:
            return np.zeros(self._num_passages, dtype=np.float32)
        most = sum(self._weight(word) for word in asked)
        scores_N: np.ndarray = self._scorer.get_scores_from_ids(known)
        return scores_N / most

    def _weight(self, word: str) -> float:
        """Return how much a word tells, by how few passages have it."""
        place = self._places.get(word)
        count = 0 if place is None else int(self._starts[place + 1] - self._starts[place])
        return math.log1p((self._num_passages - count + 0.5) / (count + 0.5))


def places_in(folder: Path) -> dict[str, int]:
    """Return the number of each word of an index."""
    listed: list[str] = files.read_json(folder / WORDS)
    return {word: place for place, word in enumerate(listed)}
