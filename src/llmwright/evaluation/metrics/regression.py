"""Errors and correlations of predicted numbers, by scikit-learn and SciPy.

Shapes: N rows, R resamples, G different values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import scipy
import sklearn
from scipy import stats
from sklearn import metrics as sk

from llmwright.evaluation.metrics.metric import Metric, RowMetric, ratio
from llmwright.evaluation.outcomes import FloatArray, Outcomes


def pair(outcomes: Outcomes) -> tuple[FloatArray, FloatArray]:
    """Return references and predictions as arrays."""
    truth_N = np.asarray(outcomes.references, dtype=np.float64)
    return truth_N, np.asarray(outcomes.predictions, dtype=np.float64)


class MeanError(RowMetric):
    """The mean of one error per row, or a function of it."""

    needs: ClassVar[frozenset[str]] = frozenset({"number"})
    higher_is_better = False
    scale = None

    def __init__(
        self,
        name: str,
        library: str,
        error: Callable[[FloatArray], FloatArray],
        of_mean: Callable[[FloatArray], FloatArray] = np.asarray,
    ) -> None:
        self.name = name
        self.library = library
        self.error = error
        self.of_mean = of_mean

    def __call__(self, outcomes: Outcomes) -> float:
        """Return scikit-learn's figure; NaN without rows."""
        if not len(outcomes):
            return float("nan")
        return float(getattr(sk, self.library)(*pair(outcomes)))

    def row_statistics(self, outcomes: Outcomes) -> FloatArray:
        """Return each row's error and 1."""
        truth_N, answer_N = pair(outcomes)
        errors_N = self.error(answer_N - truth_N)
        return np.stack([errors_N, np.ones_like(errors_N)], axis=1)

    def from_sums(self, sums_RS: FloatArray) -> FloatArray:
        """Return the figure of R resamples."""
        return self.of_mean(ratio(sums_RS[:, 0], sums_RS[:, 1], undefined=np.nan))

    def signature(self, outcomes: Outcomes) -> str:
        """Return library and version."""
        return f"scikit-learn {self.library}|version:{sklearn.__version__}"


class Pearson(Metric):
    """Linear correlation of predictions and references, -1 to 1."""

    name = "pearson"
    needs: ClassVar[frozenset[str]] = frozenset({"number"})

    def __call__(self, outcomes: Outcomes) -> float:
        """Return SciPy's coefficient; NaN where either side does not vary."""
        truth_N, answer_N = pair(outcomes)
        if not _varies(truth_N, answer_N):
            return float("nan")
        return float(stats.pearsonr(truth_N, answer_N).statistic)

    def resample(self, outcomes: Outcomes, weights_RN: FloatArray) -> FloatArray:
        """Return the coefficient in R resamples, from weighted moments."""
        x_N, y_N = (values_N - values_N.mean() for values_N in pair(outcomes))
        shape = weights_RN.shape
        return correlation(np.broadcast_to(x_N, shape), np.broadcast_to(y_N, shape), weights_RN)

    def signature(self, outcomes: Outcomes) -> str:
        """Return library and version."""
        return f"scipy.stats.pearsonr|version:{scipy.__version__}"


class Spearman(Metric):
    """Correlation of the ranks of predictions and references, -1 to 1; ties share a mean rank."""

    name = "spearman"
    needs: ClassVar[frozenset[str]] = frozenset({"number"})

    def __call__(self, outcomes: Outcomes) -> float:
        """Return SciPy's coefficient; NaN where either side does not vary."""
        truth_N, answer_N = pair(outcomes)
        if not _varies(truth_N, answer_N):
            return float("nan")
        return float(stats.spearmanr(truth_N, answer_N).statistic)

    def resample(self, outcomes: Outcomes, weights_RN: FloatArray) -> FloatArray:
        """Return the coefficient in R resamples: the correlation of the ranks in each."""
        truth_N, answer_N = pair(outcomes)
        return correlation(ranks(truth_N, weights_RN), ranks(answer_N, weights_RN), weights_RN)

    def signature(self, outcomes: Outcomes) -> str:
        """Return library and version."""
        return f"scipy.stats.spearmanr|version:{scipy.__version__}"


def correlation(x_RN: FloatArray, y_RN: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """Return the linear correlation in R resamples; NaN where one side does not vary."""
    count_R1 = weights_RN.sum(axis=1, keepdims=True)
    dx_RN = x_RN - (weights_RN * x_RN).sum(axis=1, keepdims=True) / count_R1
    dy_RN = y_RN - (weights_RN * y_RN).sum(axis=1, keepdims=True) / count_R1
    xx_R, yy_R, xy_R = (
        (weights_RN * a_RN * b_RN).sum(axis=1)
        for a_RN, b_RN in ((dx_RN, dx_RN), (dy_RN, dy_RN), (dx_RN, dy_RN))
    )
    return ratio(xy_R, np.sqrt(xx_R * yy_R), undefined=np.nan)


def ranks(values_N: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """Return the rank of each value in R resamples, R x N; equal values share their mean rank."""
    _, group_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(group_N, kind="stable")
    starts_G = np.flatnonzero(np.diff(group_N[order_N], prepend=-1))
    weight_RG = np.add.reduceat(weights_RN[:, order_N], starts_G, axis=1)
    rank_RG = np.cumsum(weight_RG, axis=1) - (weight_RG - 1) / 2
    found: FloatArray = rank_RG[:, group_N]
    return found


def _varies(truth_N: FloatArray, answer_N: FloatArray) -> bool:
    return len(truth_N) > 1 and bool(np.ptp(truth_N) > 0 and np.ptp(answer_N) > 0)


pearson = Pearson()
spearman = Spearman()
mse = MeanError("mse", "mean_squared_error", np.square)
rmse = MeanError("rmse", "root_mean_squared_error", np.square, np.sqrt)
mae = MeanError("mae", "mean_absolute_error", np.abs)
