"""Whether a model prefers the answer that people preferred.

Shapes: N rows.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from llmwright.evaluation.metrics.metric import MeanMetric
from llmwright.evaluation.outcomes import FloatArray, Outcomes


class PreferenceAccuracy(MeanMetric):
    """Share of rows in which the chosen answer has the higher score; a tie is none."""

    name = "preference_accuracy"
    needs: ClassVar[frozenset[str]] = frozenset({"choice"})

    def row_values(self, outcomes: Outcomes) -> FloatArray:
        """Return 1 for rows whose chosen answer is preferred."""
        same = [p == r for p, r in zip(outcomes.predictions, outcomes.references, strict=True)]
        return np.asarray(same, dtype=np.float64)

    def signature(self, outcomes: Outcomes) -> str:
        """Return what is compared."""
        what = "rewards" if outcomes.log_probs_N is None else "summed log-probabilities"
        return f"llmwright {self.name}|{what} of chosen and rejected"


preference_accuracy = PreferenceAccuracy()
