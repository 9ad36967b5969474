"""Exact match of texts, and SQuAD's exact match and token F1, each 0 to 1.

Of several references the best counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from llmwright.evaluation.metrics.metric import MeanMetric
from llmwright.evaluation.outcomes import FloatArray, Outcomes

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextMatch(MeanMetric):
    """The mean over rows of a comparison of two texts.

    Args:
        name: Registered name.
        compare: Value of (prediction, reference).
        rule: What the signature says about it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"text"})

    def __init__(self, name: str, compare: Callable[[str, str], float], rule: str) -> None:
        self.name = name
        self.compare = compare
        self.rule = rule

    def row_values(self, outcomes: Outcomes) -> FloatArray:
        """Return each row's best comparison."""
        found = [
            max(self.compare(prediction, text) for text in outcomes.alternatives(n))
            for n, prediction in enumerate(outcomes.predictions)
        ]
        return np.asarray(found, dtype=np.float64)

    def signature(self, outcomes: Outcomes) -> str:
        """Return the rule."""
        return f"llmwright {self.name}|{self.rule}"


def same_text(prediction: str, reference: str) -> float:
    """Return 1 when both are the same but for white space at the ends."""
    return float(prediction.strip() == reference.strip())


def squad_same(prediction: str, reference: str) -> float:
    """Return 1 when both are the same after SQuAD's normalisation."""
    return float(squad_normal(prediction) == squad_normal(reference))


def squad_overlap(prediction: str, reference: str) -> float:
    """Return the F1 of the words of both after SQuAD's normalisation.

    Source: the official SQuAD v1.1 evaluation script (Rajpurkar et al. 2016).
    """
    words, right = squad_normal(prediction).split(), squad_normal(reference).split()
    common = sum((Counter(words) & Counter(right)).values())
    if not common:
        return 0.0
    return 2 * common / (len(words) + len(right))


def squad_normal(text: str) -> str:
    """Return a text in lower case without ASCII punctuation, English articles or extra space."""
    plain = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


exact_match = TextMatch("exact_match", same_text, "outer white space ignored")
squad_exact_match = TextMatch("squad_exact_match", squad_same, "SQuAD v1.1 normalisation")
squad_f1 = TextMatch("squad_f1", squad_overlap, "SQuAD v1.1 normalisation")
