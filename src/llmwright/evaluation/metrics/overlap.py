"""ROUGE by rouge-score: the mean F-measure over rows, 0 to 1.

rouge-score's own tokenizer keeps a-z and 0-9 only. Chinese references are therefore cut by
jieba, Japanese ones into characters and other scripts into Unicode words; the signature names
which. Of several references the best counts, as in rouge-score's ``score_multi``.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any, ClassVar

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from llmwright.evaluation.metrics.metric import MeanMetric
from llmwright.evaluation.metrics.writing import (
    Characters,
    JiebaWords,
    UnicodeWords,
    Writing,
    writing_of,
)
from llmwright.evaluation.outcomes import FloatArray, Outcomes

TOKENIZERS: dict[Writing, Any] = {
    "chinese": JiebaWords,
    "kana": Characters,
    "other": UnicodeWords,
}


class Rouge(MeanMetric):
    """One ROUGE type.

    Args:
        kind: ``rouge1``, ``rouge2``, ``rougeL`` or ``rougeLsum`` (sentences on their own lines).
        use_stemmer: Porter stemming of English words.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".
    """

    needs: ClassVar[frozenset[str]] = frozenset({"text"})

    def __init__(self, kind: str, use_stemmer: bool = False) -> None:
        self.name = kind
        self.use_stemmer = use_stemmer

    def scorer(self, writing: Writing) -> RougeScorer:
        """Return rouge-score's scorer for texts written this way."""
        tokenizer = TOKENIZERS[writing]() if writing in TOKENIZERS else None
        return RougeScorer([self.name], use_stemmer=self.use_stemmer, tokenizer=tokenizer)

    def row_values(self, outcomes: Outcomes) -> FloatArray:
        """Return each row's F-measure."""
        scorer = self.scorer(_writing(outcomes))
        found = [
            scorer.score_multi(outcomes.alternatives(n), prediction)[self.name].fmeasure
            for n, prediction in enumerate(outcomes.predictions)
        ]
        return np.asarray(found, dtype=np.float64)

    def signature(self, outcomes: Outcomes) -> str:
        """Return library, tokenizer, stemming and version."""
        tokens = {"latin": "a-z0-9", "chinese": "jieba", "kana": "characters", "other": "unicode"}
        stemmer = "yes" if self.use_stemmer else "no"
        return (
            f"rouge-score|type:{self.name}|tok:{tokens[_writing(outcomes)]}|stemmer:{stemmer}"
            f"|mean of F-measures|version:{metadata.version('rouge-score')}"
        )


def _writing(outcomes: Outcomes) -> Writing:
    rows = range(len(outcomes))
    return outcomes.remember(
        "writing", lambda: writing_of(text for n in rows for text in outcomes.alternatives(n))
    )


rouge1 = Rouge("rouge1")
rouge2 = Rouge("rouge2")
rouge_l = Rouge("rougeL")
rouge_lsum = Rouge("rougeLsum")
