"""Errors and correlations are those of SciPy and scikit-learn, ties and all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from llmwright.evaluation.bootstrap import resamples
from llmwright.evaluation.config import METRICS
from llmwright.evaluation.outcomes import Outcomes

RANDOM = np.random.default_rng(3)
# Grades and rounded answers: both sides have many ties.
TRUTH = RANDOM.integers(0, 6, 80) / 2
ANSWER = np.round(TRUTH + RANDOM.normal(0, 0.7, 80), 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pearson", stats.pearsonr(TRUTH, ANSWER).statistic),
        ("spearman", stats.spearmanr(TRUTH, ANSWER).statistic),
        ("mse", sk.mean_squared_error(TRUTH, ANSWER)),
        ("rmse", math.sqrt(np.mean((TRUTH - ANSWER) ** 2))),
        ("mae", np.abs(TRUTH - ANSWER).mean()),
    ],
)
def test_figures_and_their_resamples(name: str, expected: float) -> None:
    outcomes = Outcomes("number", ANSWER.tolist(), TRUTH.tolist())
    metric = METRICS.get(name)
    assert metric(outcomes) == pytest.approx(expected, abs=1e-12)
    (weights_RN,) = resamples(80, 20, 1)
    found_R = metric.resample(outcomes, weights_RN)
    for weights_N, found in zip(weights_RN, found_R, strict=True):
        drawn = outcomes.take(np.repeat(np.arange(80), weights_N.astype(int)))
        assert found == pytest.approx(metric(drawn), abs=1e-9)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_model_that_always_says_the_same_has_no_correlation(name: str) -> None:
    outcomes = Outcomes("number", [2.0] * 9, TRUTH[:9].tolist())
    assert math.isnan(METRICS.get(name)(outcomes))
    assert np.isnan(METRICS.get(name).resample(outcomes, np.ones((2, 9)))).all()
