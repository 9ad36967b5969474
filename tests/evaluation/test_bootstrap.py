from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.evaluation.bootstrap import MAX_WHOLE_RESAMPLES, intervals, resamples
from llmwright.evaluation.metrics.classification import accuracy, f1_macro
from llmwright.evaluation.metrics.metric import FunctionMetric, Metric
from llmwright.evaluation.metrics.ranking import pr_auc, roc_auc
from llmwright.evaluation.outcomes import Outcomes


def coin_rows(num_rows: int, share: float, seed: int) -> Outcomes:
    right = np.random.default_rng(seed).random(num_rows) < share
    return Outcomes("label", ["a" if r else "b" for r in right], ["a"] * num_rows)


def test_each_resample_draws_as_many_rows_as_there_are() -> None:
    blocks = list(resamples(50, 30, seed=0))
    assert sum(len(block) for block in blocks) == 30
    assert all((block.sum(axis=1) == 50).all() for block in blocks)


def test_same_seed_same_interval_other_seed_another() -> None:
    outcomes = coin_rows(997, 0.8, seed=1)
    first, again, other = (
        intervals([accuracy], outcomes, num_resamples=99, seed=seed)["accuracy"]
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_interval_of_a_share_agrees_with_the_normal_approximation() -> None:
    outcomes = coin_rows(1000, 0.8, seed=2)
    share = accuracy(outcomes)
    half = 1.96 * np.sqrt(share * (1 - share) / 1000)
    found = intervals([accuracy], outcomes, num_resamples=4000)["accuracy"]
    assert found.low == pytest.approx(share - half, abs=0.003)
    assert found.high == pytest.approx(share + half, abs=0.003)


def test_95_percent_intervals_cover_the_true_share_about_95_times_in_100() -> None:
    covered = 0
    for seed in range(200):
        found = intervals([accuracy], coin_rows(200, 0.8, seed), num_resamples=300, seed=seed)
        covered += found["accuracy"].low <= 0.8 <= found["accuracy"].high
    assert 0.90 <= covered / 200 <= 0.985


def test_higher_confidence_gives_a_wider_interval() -> None:
    outcomes = coin_rows(200, 0.7, seed=3)
    narrow = intervals([accuracy], outcomes, confidence=0.8)["accuracy"]
    wide = intervals([accuracy], outcomes, confidence=0.99)["accuracy"]
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_function_metric_gets_fewer_resamples_and_says_so() -> None:
    mean = FunctionMetric("mean_length", lambda predictions, _: float(len(predictions[0])))
    found = intervals([mean, accuracy], coin_rows(30, 0.5, seed=4))
    assert found["mean_length"].num_resamples == MAX_WHOLE_RESAMPLES
    assert found["accuracy"].num_resamples == 1000


def test_one_row_or_no_resamples_give_no_interval() -> None:
    assert intervals([accuracy], coin_rows(1, 1.0, seed=0)) == {}
    assert intervals([accuracy], coin_rows(9, 1.0, seed=0), num_resamples=0) == {}


@pytest.mark.slow
def test_3000_rows_of_77_labels_take_seconds() -> None:
    generator = np.random.default_rng(0)
    scores_NC = generator.random((3000, 77))
    labels = tuple(f"label{i:02d}" for i in range(77))
    answers = [labels[i] for i in scores_NC.argmax(axis=1)]
    truth = [labels[i] for i in generator.integers(77, size=3000)]
    outcomes = Outcomes("label", answers, truth, labels=labels, scores_NC=scores_NC)
    start = time.perf_counter()
    found = intervals([accuracy, f1_macro], outcomes)
    assert set(found) == {"accuracy", "f1_macro"}
    assert time.perf_counter() - start < 5
    start = time.perf_counter()
    intervals([roc_auc, pr_auc], outcomes)
    assert time.perf_counter() - start < 30


def test_a_resample_that_a_plugin_fails_on_has_no_value_and_is_counted() -> None:
    outcomes = Outcomes("label", ["a"] * 6, ["a"] * 5 + ["b"])
    # Divides by the number of rows with "b", of which many resamples have none.
    fragile = FunctionMetric("fragile", lambda _, truth: 1 / truth.count("b"))
    failed: Counter[str] = Counter()
    found = intervals([fragile], outcomes, num_resamples=100, failed=failed)["fragile"]
    assert 10 < failed["fragile"] < 90
    assert found.num_resamples == 100 - failed["fragile"]


def test_the_resampling_of_a_plugins_metric_may_fail_by_name_only() -> None:
    class Fragile(Metric):
        name = "fragile"

        def __call__(self, outcomes: Outcomes) -> float:
            return 1.0

        def resample(self, outcomes: Outcomes, weights_RN):
            raise KeyError("b")

    with pytest.raises(InputError, match="EVAL-010.*fragile.*KeyError"):
        intervals([Fragile()], coin_rows(9, 0.5, seed=0))
