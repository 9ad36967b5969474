"""Which values a setting may take, however they are written."""

from __future__ import annotations

import pytest

from llmwright.tuning.domains import Domain, flat_space


def domain(**values) -> Domain:
    return Domain.model_validate(values)


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ({"choices": [1, "a", {"kind": "sgd"}]}, ["1", '"a"', '{"kind": "sgd"}']),
        ({"int": [2, 5]}, [2, 3, 4, 5]),
        ({"int": [8, 32], "step": 8}, [8, 16, 24, 32]),
        ({"float": [0, 0.3], "step": 0.1}, [0.0, 0.1, 0.2, 0.3]),
        ({"float": [0, 1], "num": 3}, [0.0, 0.5, 1.0]),
        ({"log": [1e-4, 1e-2], "num": 3}, [1e-4, 1e-3, 1e-2]),
        ({"log_int": [1, 100], "num": 3}, [1, 10, 100]),
        ({"float": [0, 1]}, None),
        ({"log": [1e-4, 1e-2]}, None),
    ],
)
def test_points_of_a_grid(values, points) -> None:
    assert domain(**values).points() == points


def test_choices_may_be_anything_and_come_back() -> None:
    one = domain(choices=["adamw", {"momentum": 0.5, "kind": "sgd"}, None, 3])
    assert [one.decode(kept) for kept in one.points()] == one.choices
    assert all(one.distribution()._contains(i) for i in range(4))


def test_points_lie_in_the_distribution() -> None:
    for values in ({"int": [8, 30], "step": 8}, {"log_int": [3, 77], "num": 5}):
        one = domain(**values)
        assert all(one.distribution()._contains(point) for point in one.points())


def test_a_space_may_be_nested_or_dotted() -> None:
    nested = {"train": {"lr": {"log": [1, 2]}, "optimizer": {"beta2": {"float": [0, 1]}}}}
    dotted = {"train.lr": {"log": [1, 2]}, "train.optimizer.beta2": {"float": [0, 1]}}
    assert flat_space(nested) == flat_space(dotted) == dotted
    # What is laid over, as a word of the command line, wins.
    assert flat_space({"train.lr": {"log": [1, 2]}, "train": {"lr": {"log": [3, 4]}}}) == {
        "train.lr": {"log": [3, 4]}
    }
