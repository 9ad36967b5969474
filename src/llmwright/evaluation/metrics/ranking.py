"""ROC and precision-recall curves and their areas, by scikit-learn.

Two labels: the curve of the positive one. More labels: one against the rest, and the macro
average over labels that have both positive and negative rows; others have no curve. Label sets:
each label on its own, then the macro average. The area under the precision-recall curve is the
average precision (steps, no interpolation between points).

Shapes: N rows, C labels, R resamples, P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import sklearn
from sklearn import metrics as sk

from llmwright.evaluation.metrics.classification import counts
from llmwright.evaluation.metrics.metric import Metric, ratio
from llmwright.evaluation.outcomes import FloatArray, Outcomes

Kind = Literal["roc", "pr"]


class AreaUnderCurve(Metric):
    """ROC AUC or average precision; the macro average where there is more than one curve."""

    needs: ClassVar[frozenset[str]] = frozenset({"label", "labels"})
    also: ClassVar[frozenset[str]] = frozenset({"scores"})

    def __init__(self, kind: Kind) -> None:
        self.name = f"{kind}_auc"
        self.kind: Kind = kind

    def __call__(self, outcomes: Outcomes) -> float:
        """Return scikit-learn's area, averaged over `columns`; NaN without any."""
        areas = [area(self.kind, outcomes, column) for column in columns(outcomes)]
        return float(np.mean(areas)) if areas else float("nan")

    def resample(self, outcomes: Outcomes, weights_RN: FloatArray) -> FloatArray:
        """Return the area in R resamples; labels without both kinds of rows are left out."""
        total_R = np.zeros(len(weights_RN))
        count_R = np.zeros(len(weights_RN))
        for column in columns(outcomes):
            area_R = resampled_area(self.kind, outcomes, column, weights_RN)
            defined_R = np.isfinite(area_R)
            total_R += np.where(defined_R, area_R, 0.0)
            count_R += defined_R
        return ratio(total_R, count_R, undefined=np.nan)

    def signature(self, outcomes: Outcomes) -> str:
        """Return library, how labels are combined, and version."""
        function = "roc_auc_score" if self.kind == "roc" else "average_precision_score"
        index = outcomes.positive_index
        how = "one-vs-rest macro" if index is None else f"positive={outcomes.labels[index]}"
        return f"scikit-learn {function}|{how}|version:{sklearn.__version__}"


@dataclass(frozen=True)
class Curve:
    """One label's curve.

    Attributes:
        label: The label that counts as positive.
        area: ROC AUC or average precision.
        x: False positive rate or recall, P points.
        y: True positive rate or precision, P points.
    """

    label: str
    area: float
    x: list[float]
    y: list[float]


def columns(outcomes: Outcomes) -> list[int]:
    """Return the labels that have a curve: with both positive and negative rows."""
    _, truth_1C, _ = counts(outcomes, np.ones((1, len(outcomes))))
    positive_C = truth_1C[0]
    both = np.flatnonzero((positive_C > 0) & (positive_C < len(outcomes)))
    index = outcomes.positive_index
    return [int(c) for c in both if index is None or c == index]


def area(kind: Kind, outcomes: Outcomes, column: int) -> float:
    """Return one label's area under the curve."""
    assert outcomes.scores_NC is not None
    function = sk.roc_auc_score if kind == "roc" else sk.average_precision_score
    return float(function(outcomes.truth_of(column), outcomes.scores_NC[:, column]))


def curve(kind: Kind, outcomes: Outcomes, column: int, max_points: int = 200) -> Curve:
    """Return one label's curve, thinned to at most ``max_points`` evenly along the curve."""
    assert outcomes.scores_NC is not None
    truth_N, score_N = outcomes.truth_of(column), outcomes.scores_NC[:, column]
    if kind == "roc":
        x_P, y_P, _ = sk.roc_curve(truth_N, score_N)
    else:
        y_P, x_P, _ = sk.precision_recall_curve(truth_N, score_N)
    # Evenly along the curve's length: by number, most points would lie where it is flat.
    length_P = np.append(0.0, np.cumsum(np.abs(np.diff(x_P)) + np.abs(np.diff(y_P))))
    kept = np.searchsorted(length_P, np.linspace(0, length_P[-1], min(max_points, len(x_P))))
    kept = np.unique(np.append(kept, len(x_P) - 1))
    rounded = [[round(float(v), 5) for v in values[kept]] for values in (x_P, y_P)]
    return Curve(outcomes.labels[column], area(kind, outcomes, column), rounded[0], rounded[1])


def resampled_area(
    kind: Kind, outcomes: Outcomes, column: int, weights_RN: FloatArray
) -> FloatArray:
    """Return one label's area in R resamples; NaN where a resample lacks one kind of rows.

    Rows are sorted by score once. Each positive row then needs only how much weight lies above its
    group of equal scores and within it: of all rows, and of positive ones.
    """
    assert outcomes.scores_NC is not None
    falling_N = -outcomes.scores_NC[:, column]
    order = np.argsort(falling_N, kind="stable")
    falling_N = falling_N[order]
    positive_P = np.flatnonzero(outcomes.truth_of(column)[order])
    before_P = np.searchsorted(falling_N, falling_N[positive_P], side="left")
    until_P = np.searchsorted(falling_N, falling_N[positive_P], side="right")
    weights_RP = weights_RN[:, order[positive_P]]
    all_RN = _running_sums(weights_RN[:, order])
    hits_RP = _running_sums(weights_RP)
    total_R, positive_R = all_RN[:, -1], hits_RP[:, -1]
    negative_R = total_R - positive_R
    hits_until_RP = hits_RP[:, np.searchsorted(positive_P, until_P)]
    if kind == "pr":
        precision_RP = ratio(hits_until_RP, all_RN[:, until_P], undefined=0.0)
        found_R = ratio((weights_RP * precision_RP).sum(axis=1), positive_R, undefined=np.nan)
        return np.where(negative_R > 0, found_R, np.nan)
    # Pairs ranked right: negatives below the group, and half of those within it.
    hits_before_RP = hits_RP[:, np.searchsorted(positive_P, before_P)]
    false_RP = all_RN[:, until_P] - hits_until_RP + all_RN[:, before_P] - hits_before_RP
    pairs_R = (weights_RP * (negative_R[:, None] - false_RP / 2)).sum(axis=1)
    return ratio(pairs_R, positive_R * negative_R, undefined=np.nan)


def _running_sums(weights_RN: FloatArray) -> FloatArray:
    """Return the sums of the first 0, 1, ... N columns: R x (N + 1)."""
    sums = np.zeros((weights_RN.shape[0], weights_RN.shape[1] + 1))
    np.cumsum(weights_RN, axis=1, out=sums[:, 1:])
    return sums


roc_auc = AreaUnderCurve("roc")
pr_auc = AreaUnderCurve("pr")
