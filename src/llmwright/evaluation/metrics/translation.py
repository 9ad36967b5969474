"""BLEU and chrF by sacrebleu, 0 to 100, each with its signature.

Chinese references choose sacrebleu's ``zh`` tokenizer, Japanese ones ``char`` (its word
tokenizer needs MeCab), all others ``13a``; the signature names it. Resamples come from the same
sentence statistics that sacrebleu sums itself.

Shapes: N rows, R resamples, S statistics.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from llmwright.evaluation.metrics.metric import Metric
from llmwright.evaluation.metrics.writing import writing_of
from llmwright.evaluation.outcomes import FloatArray, Outcomes

TOKENIZERS = {"latin": "13a", "other": "13a", "chinese": "zh", "kana": "char"}


class SacrebleuMetric(Metric):
    """A corpus metric of sacrebleu."""

    needs: ClassVar[frozenset[str]] = frozenset({"text"})
    scale = 100.0

    @abstractmethod
    def make_scorer(self, outcomes: Outcomes) -> Any:
        """Return sacrebleu's metric object for these references."""

    def __call__(self, outcomes: Outcomes) -> float:
        """Return sacrebleu's corpus score; NaN without rows."""
        if not len(outcomes):
            return float("nan")
        return float(self._scorer(outcomes).corpus_score(*_streams(outcomes)).score)

    def resample(self, outcomes: Outcomes, weights_RN: FloatArray) -> FloatArray:
        """Return the corpus score of R resamples."""
        return self._scores(outcomes, weights_RN @ self._statistics(outcomes))

    def row_scores(self, outcomes: Outcomes) -> FloatArray:
        """Return each sentence's own score, 0 to 100."""
        return self._scores(outcomes, self._statistics(outcomes))

    def signature(self, outcomes: Outcomes) -> str:
        """Return sacrebleu's own signature."""
        # The number of references is part of it and is known once statistics were taken.
        self._statistics(outcomes)
        return f"sacrebleu {self.name}|{self._scorer(outcomes).get_signature()}"

    def _scorer(self, outcomes: Outcomes) -> Any:
        return outcomes.remember(f"scorer:{self.name}", lambda: self.make_scorer(outcomes))

    def _statistics(self, outcomes: Outcomes) -> FloatArray:
        # sacrebleu opens no public door to sentence statistics; its significance tests use this.
        def extract() -> FloatArray:
            found = self._scorer(outcomes)._extract_corpus_statistics(*_streams(outcomes))
            return np.asarray(found, dtype=np.float64)

        return outcomes.remember(f"statistics:{self.name}", extract)

    def _scores(self, outcomes: Outcomes, sums_RS: FloatArray) -> FloatArray:
        score = self._scorer(outcomes)._compute_score_from_stats
        return np.asarray([score(sums.tolist()).score for sums in sums_RS])


class Bleu(SacrebleuMetric):
    """Corpus BLEU.

    Source: Papineni et al. 2002; Post 2018, "A Call for Clarity in Reporting BLEU Scores".
    """

    name = "bleu"

    def make_scorer(self, outcomes: Outcomes) -> BLEU:
        """Return BLEU with the tokenizer of the references' script."""
        texts = (text for n in range(len(outcomes)) for text in outcomes.alternatives(n))
        # force: sacrebleu would log a guess about tokenized input, and logs are not our voice.
        return BLEU(tokenize=TOKENIZERS[writing_of(texts)], force=True)


class Chrf(SacrebleuMetric):
    """Corpus chrF2, or chrF2++ with word order 2.

    Source: Popović 2015, 2017.
    """

    def __init__(self, word_order: int = 0) -> None:
        self.name = "chrf++" if word_order else "chrf"
        self.word_order = word_order

    def make_scorer(self, outcomes: Outcomes) -> CHRF:
        """Return chrF."""
        return CHRF(word_order=self.word_order)


def _streams(outcomes: Outcomes) -> tuple[list[str], Sequence[Sequence[str | None]]]:
    """Return hypotheses and reference streams; rows with fewer references are filled with None."""
    rows = [outcomes.alternatives(n) for n in range(len(outcomes))]
    width = max(len(row) for row in rows)
    streams = [[row[i] if i < len(row) else None for row in rows] for i in range(width)]
    return list(outcomes.predictions), streams


bleu = Bleu()
chrf = Chrf()
chrf_plus_plus = Chrf(word_order=2)
