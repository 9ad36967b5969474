"""Every registered metric keeps the contract that plugins are held to; broken ones do not."""

from __future__ import annotations

import random

import pytest

from llmwright.evaluation.config import METRICS
from llmwright.testing.metric import check_metric


@pytest.mark.parametrize("name", METRICS.names())
def test_registered_metric(name: str) -> None:
    check_metric(name, METRICS.get(name))


def first_only(predictions: list, references: list) -> float:
    return float(predictions[0] == references[0])


def noisy(predictions: list, references: list) -> float:
    return random.random()


def errors(predictions: list, references: list) -> float:
    return sum(p != r for p, r in zip(predictions, references, strict=True)) / len(predictions)


@pytest.mark.parametrize(
    ("function", "said"),
    [(first_only, "another order"), (noisy, "then"), (errors, "perfect answers")],
)
def test_the_suite_finds_what_is_wrong(function, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_metric("mine", function)


def test_a_function_that_is_better_when_smaller_says_so() -> None:
    errors.higher_is_better = False
    check_metric("mine", errors)
    del errors.higher_is_better
