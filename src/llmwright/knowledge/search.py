"""Answering a question with passages, and knowing when the documents say nothing about it.

Each passage has two pieces of evidence: the share of the question's words it speaks of, and how far
its meaning is above that of unrelated texts. Both mean the same in every folder, so their weighted
sum, made a probability by a logistic function, orders the passages and is held to a threshold.
Ranks (reciprocal rank fusion) would order them too, but say nothing about whether any is good, and
let an encoder that does not know the language spoil the order.

Shapes: N passages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmwright.knowledge.config import KnowledgeConfig
from llmwright.knowledge.dense import Encoder, cosines, language_of
from llmwright.knowledge.index import Index
from llmwright.knowledge.passages import Passage


@dataclass(frozen=True)
class Weights:
    """How evidence becomes the probability that a passage speaks of what is asked.

    Attributes:
        base: Log odds without any evidence.
        words: Added for a passage that speaks of the whole question.
        meaning: Added for each standard deviation above unrelated texts.
    """

    base: float
    words: float
    meaning: float = 0.0

    def odds(self, words_N: np.ndarray, meaning_N: np.ndarray | None) -> np.ndarray:
        """Return the log odds that each passage answers, (N,)."""
        odds_N: np.ndarray = self.base + self.words * words_N
        return odds_N if meaning_N is None else odds_N + self.meaning * meaning_N


# Fitted by benchmarks/knowledge.py on questions with and without an answer; tested on other ones.
# Chinese words are also counted as their parts, so that chance finds more of them.
BY_WORDS = {"en": Weights(base=-6.5, words=36.3), "zh": Weights(base=-8.1, words=32.9)}
BY_BOTH = Weights(base=-10.4, words=28.6, meaning=2.4)


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        passage: The passage.
        score: How likely it is to speak of what is asked, 0 to 1.
        words: Share of the question's words it speaks of, weighted by how rare they are.
        meaning: Standard deviations its cosine is above that of unrelated texts; None where no
            encoder was asked.
    """

    passage: Passage
    score: float
    words: float
    meaning: float | None


class Knowledge:
    """Documents that can be asked.

    Args:
        index: Their index.
        config: How many passages, from which score on.
        encoder: What the index was embedded with; None for words alone.
    """

    def __init__(
        self, index: Index, config: KnowledgeConfig, encoder: Encoder | None = None
    ) -> None:
        self.index = index
        self.config = config
        self.encoder = encoder

    def search(self, question: str, count: int | None = None) -> list[Hit]:
        """Return the passages that answer a question best, the best first.

        Args:
            question: The question.
            count: How many at most; the config's when not given.
        """
        words_N, meaning_N = self.evidence(question)
        weights = BY_WORDS[language_of(question)] if meaning_N is None else BY_BOTH
        odds_N = weights.odds(words_N, meaning_N)
        best = _highest(odds_N, count or self.config.passages)
        return [
            Hit(
                passage=self.index.passage(int(place)),
                score=1 / (1 + math.exp(-float(odds_N[place]))),
                words=float(words_N[place]),
                meaning=None if meaning_N is None else float(meaning_N[place]),
            )
            for place in best
            if words_N[place] > 0 or meaning_N is not None
        ]

    def evidence(self, question: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what speaks for each passage: share of the words, and meaning, each (N,).

        There is no second one where no encoder can tell.
        """
        return self.index.lexicon.shares(question), self._meaning(question)

    def known(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return the hits whose score is high enough to answer from."""
        return [hit for hit in hits if hit.score >= self.config.min_score]

    def _meaning(self, question: str) -> np.ndarray | None:
        """Return how near each passage is in meaning, (N,); None where no encoder can tell."""
        gauge = self.index.gauges.get(language_of(question))
        vectors_ND = self.index.vectors_ND
        if self.encoder is None or vectors_ND is None or gauge is None or not gauge.holds:
            return None
        return gauge.measured(cosines(vectors_ND, self.encoder.questions([question])[0]))


def _highest(values_N: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the highest values, the highest first, of equal ones the first."""
    if count < len(values_N):
        least = np.partition(values_N, -count)[-count]
        places = np.flatnonzero(values_N >= least)
    else:
        places = np.arange(len(values_N))
    found: np.ndarray = places[np.argsort(-values_N[places], kind="stable")][:count]
    return found
