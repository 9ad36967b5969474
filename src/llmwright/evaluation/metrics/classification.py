"""Accuracy, precision, recall and F1 of single- and multi-label classification, by scikit-learn.

The figure itself comes from scikit-learn; its resamples come from the same counts, one matrix
product for all of them (a test proves that both agree). Averages run over the labels that occur
in the references or the predictions, which is scikit-learn's own rule for single labels. A
precision, recall or F1 whose denominator is 0 counts as 0.

Shapes: N rows, C labels, R resamples.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import sklearn
from sklearn import metrics as sk

from llmwright.evaluation.metrics.metric import MeanMetric, Metric, ratio
from llmwright.evaluation.outcomes import FloatArray, IntArray, Outcomes

Part = Literal["precision", "recall", "f1"]
Average = Literal["micro", "macro", "weighted"]

LABEL_FORMS = frozenset({"label", "labels"})


class Accuracy(MeanMetric):
    """Share of rows answered entirely right: one label, or the same set of labels."""

    needs: ClassVar[frozenset[str]] = LABEL_FORMS

    def __init__(self, name: str = "accuracy") -> None:
        self.name = name

    def __call__(self, outcomes: Outcomes) -> float:
        """Return scikit-learn's accuracy; for label sets that is the subset accuracy."""
        if not len(outcomes):
            return float("nan")
        return float(sk.accuracy_score(*pair(outcomes)))

    def row_values(self, outcomes: Outcomes) -> FloatArray:
        """Return 1 for rows that are entirely right."""
        truth, answer = pair(outcomes)
        same = truth == answer
        return (same if same.ndim == 1 else same.all(axis=1)).astype(np.float64)

    def signature(self, outcomes: Outcomes) -> str:
        """Return library and version."""
        return f"scikit-learn accuracy_score|version:{sklearn.__version__}"


class PrecisionRecallF1(Metric):
    """One of precision, recall and F1 under one average."""

    needs: ClassVar[frozenset[str]] = LABEL_FORMS

    def __init__(self, part: Part, average: Average) -> None:
        self.name = f"{part}_{average}"
        self.part: Part = part
        self.average: Average = average

    def __call__(self, outcomes: Outcomes) -> float:
        """Return scikit-learn's value over the labels that occur."""
        columns = occurring(outcomes)
        if not len(columns):
            return float("nan")
        found = sk.precision_recall_fscore_support(
            *pair(outcomes),
            labels=columns,
            average=self.average,
            zero_division=0,
        )
        return float(found[("precision", "recall", "f1").index(self.part)])

    def resample(self, outcomes: Outcomes, weights_RN: FloatArray) -> FloatArray:
        """Return the value in R resamples."""
        hits_RC, truth_RC, answer_RC = counts(outcomes, weights_RN)
        if self.average == "micro":
            sums = (x.sum(axis=1, keepdims=True) for x in (hits_RC, truth_RC, answer_RC))
            return from_counts(self.part, *sums)[:, 0]
        values_RC = from_counts(self.part, hits_RC, truth_RC, answer_RC)
        if self.average == "weighted":
            return ratio((values_RC * truth_RC).sum(axis=1), truth_RC.sum(axis=1), undefined=0.0)
        occurs_RC = (truth_RC + answer_RC) > 0
        return ratio(
            (values_RC * occurs_RC).sum(axis=1), occurs_RC.sum(axis=1).astype(np.float64), 0.0
        )

    def signature(self, outcomes: Outcomes) -> str:
        """Return library, average, how 0/0 counts, and version."""
        return (
            f"scikit-learn precision_recall_fscore_support|average:{self.average}"
            f"|zero_division:0|labels:occurring|version:{sklearn.__version__}"
        )


def occurring(outcomes: Outcomes) -> list[int]:
    """Return the columns of labels that occur in a reference or a prediction."""
    _, truth_1C, answer_1C = counts(outcomes, np.ones((1, len(outcomes))))
    return list(np.flatnonzero(truth_1C[0] + answer_1C[0]))


def pair(outcomes: Outcomes) -> tuple[IntArray | FloatArray, IntArray | FloatArray]:
    """Return references and predictions as scikit-learn takes them, as small as they can be."""
    if outcomes.form == "label":
        return outcomes.truth_N, outcomes.answer_N
    return outcomes.truth_NC, outcomes.answer_NC


def counts(outcomes: Outcomes, weights_RN: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return right answers, references and predictions per label, each R x C."""
    if outcomes.form == "label":
        truth_N, answer_N = outcomes.truth_N, outcomes.answer_N
        right_N = truth_N == answer_N
        size = len(outcomes.labels)
        return (
            _sums(truth_N[right_N], weights_RN[:, right_N], size),
            _sums(truth_N, weights_RN, size),
            _sums(answer_N, weights_RN, size),
        )
    truth_NC, answer_NC = outcomes.truth_NC, outcomes.answer_NC
    return weights_RN @ (truth_NC * answer_NC), weights_RN @ truth_NC, weights_RN @ answer_NC


def _sums(columns_N: IntArray, weights_RN: FloatArray, size: int) -> FloatArray:
    """Return the summed weight of each column, R x C."""
    sums_RC = np.empty((len(weights_RN), size))
    for sums_C, weights_N in zip(sums_RC, weights_RN, strict=True):
        sums_C[:] = np.bincount(columns_N, weights_N, minlength=size)
    return sums_RC


def from_counts(
    part: Part, hits_RC: FloatArray, truth_RC: FloatArray, answer_RC: FloatArray
) -> FloatArray:
    """Return precision, recall or F1 from counts; 0 where the denominator is 0."""
    if part == "precision":
        return ratio(hits_RC, answer_RC, undefined=0.0)
    if part == "recall":
        return ratio(hits_RC, truth_RC, undefined=0.0)
    return ratio(2 * hits_RC, truth_RC + answer_RC, undefined=0.0)


accuracy = Accuracy()
subset_accuracy = Accuracy("subset_accuracy")
precision_micro = PrecisionRecallF1("precision", "micro")
precision_macro = PrecisionRecallF1("precision", "macro")
precision_weighted = PrecisionRecallF1("precision", "weighted")
recall_micro = PrecisionRecallF1("recall", "micro")
recall_macro = PrecisionRecallF1("recall", "macro")
recall_weighted = PrecisionRecallF1("recall", "weighted")
f1_micro = PrecisionRecallF1("f1", "micro")
f1_macro = PrecisionRecallF1("f1", "macro")
f1_weighted = PrecisionRecallF1("f1", "weighted")
