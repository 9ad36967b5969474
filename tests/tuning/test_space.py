"""A space that no search could go through is refused before anything is trained."""

from __future__ import annotations

import pytest

from llmwright.core.config import parse
from llmwright.core.errors import ConfigError
from llmwright.training.config import TrainConfig
from llmwright.tuning import domains, space
from llmwright.tuning.config import TuneConfig

LR = {"train.lr": {"log": [1e-4, 1e-2]}}


def config(**values) -> TuneConfig:
    return parse(TuneConfig, {"space": LR, **values}, "tune")


def error(**values) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config(**values)
    return caught.value


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({}, "TUNE-001", []),
        ({"train.lrr": {"log": [1e-4, 1e-2]}}, "TUNE-002", ["train.lrr", 'mean "train.lr"']),
        ({"lr": {"log": [1e-4, 1e-2]}}, "TUNE-002", ['mean "train.lr"']),
        ({"train.optimizer.beta": {"float": [0, 0.5]}}, "TUNE-002", ["train.optimizer.beta1"]),
        ({"train.schedule.warmup": {"int": [0, 9]}}, "TUNE-002", ["train.schedule.warmup_steps"]),
        ({"train": {"choices": [1]}}, "TUNE-002", ["train.lr"]),
        ({"train.selection": {"choices": ["loss", "accuracy"]}}, "TUNE-003", ["compared"]),
        (
            {"train.optimizer": {"choices": ["sgd"]}, "train.optimizer.beta2": {"float": [0, 0.5]}},
            "TUNE-003",
            ["train.optimizer.beta2", 'within "train.optimizer"'],
        ),
        ({"train.dataset": {"choices": ["a", "b"]}}, "TUNE-003", ["train.dataset", "artifact"]),
        ({"train.lr": {}}, "TUNE-004", ["exactly one", "log_int"]),
        ({"train.lr": {"log": [1, 2], "float": [1, 2]}}, "TUNE-004", ["exactly one"]),
        ({"train.lr": {"log": [1e-2, 1e-4]}}, "TUNE-004", ["0.01", "0.0001"]),
        ({"train.lr": {"log": [0, 1e-4]}}, "TUNE-004", ["above 0"]),
        ({"train.lr": {"float": [0.1, float("inf")]}}, "TUNE-004", ["inf"]),
        ({"train.lr": {"choices": []}}, "TUNE-004", ["empty"]),
        ({"train.lr": {"choices": [0.1, 0.1]}}, "TUNE-004", ["twice"]),
        ({"train.lr": {"choices": [0.1], "num": 3}}, "TUNE-004", ["ranges"]),
        ({"train.lr": {"log": [0.1, 1], "step": 0.1}}, "TUNE-004", ["step"]),
        ({"train.batch_size": {"int": [2, 9], "step": 0.5}}, "TUNE-004", ["whole"]),
        ({"train.batch_size": {"int": [2, 9], "step": 20}}, "TUNE-004", ["longer"]),
        ({"train.lr": {"float": [-1, 1]}}, "TUNE-005", ["train.lr", "-1", "greater than 0"]),
        ({"train.optimizer": {"choices": ["adamx"]}}, "TUNE-005", ["adamx", 'mean "adam"']),
        (
            {
                "train.optimizer.kind": {"choices": ["adamw", "sgd"]},
                "train.optimizer.beta2": {"float": [0.9, 0.99]},
            },
            "TUNE-006",
            ["train.optimizer.kind = sgd", "beta2"],
        ),
    ],
)
def test_what_is_wrong_is_named(given, code, words) -> None:
    found = error(space=given)
    assert found.code == code
    assert not [word for word in words if word not in found.message], found.message
    assert found.where.startswith("tune.space")


def test_samplers_refuse_what_they_cannot_vary() -> None:
    assert error(sampler="grid").code == "TUNE-007"
    assert error(sampler="cmaes").code == "TUNE-008"
    pair = {**LR, "train.optimizer": {"choices": ["adamw", "sgd"]}}
    assert error(sampler="cmaes", space=pair).values["key"] == "train.optimizer"
    config(sampler="cmaes", space={**LR, "train.weight_decay": {"float": [0, 1]}})
    config(sampler="grid", space={"train.lr": {"log": [1e-4, 1e-2], "num": 3}})


def test_errors_point_at_the_line_of_the_file() -> None:
    lines = {"tune": "llmwright.yaml:3", "tune.space.train.lr": "llmwright.yaml:5"}
    with pytest.raises(ConfigError) as caught:
        parse(TuneConfig, {"space": {"train.lr": {"log": [2, 1]}}}, "tune", lines)
    assert (caught.value.code, caught.value.where) == ("TUNE-004", "llmwright.yaml:5")


def test_a_form_that_is_none_is_named() -> None:
    assert "log" in str(error(space={"train.lr": {"logg": [1, 2]}}))


def test_values_are_laid_over_the_settings() -> None:
    base = TrainConfig.model_validate({"epochs": 2, "optimizer": {"kind": "adamw", "beta2": 0.9}})
    values = {"train.optimizer": {"kind": "sgd", "momentum": 0.5}, "train.schedule.kind": "linear"}
    made = space.laid_over(base, values)
    assert made.epochs == 2
    assert made.optimizer.model_dump() == {"kind": "sgd", "momentum": 0.5, "nesterov": False}
    assert made.schedule.kind == "linear"
    values = {"train.optimizer.momentum": 0.1, "train.optimizer.kind": "sgd"}
    assert space.laid_over(base, values).optimizer.momentum == 0.1
    assert space.laid_over(base, {"train.optimizer.beta1": 0.5}).optimizer.beta2 == 0.9


def test_no_setting_has_the_name_of_a_form() -> None:
    """Else a nested space could not be read."""
    names = set(TrainConfig.model_fields)
    for field in TrainConfig.model_fields:
        from llmwright.core.config import names_at

        names |= set(names_at(TrainConfig, [field]))
    assert not names & {*domains.FORMS, "step", "num"}


def test_the_grid_is_whole_and_shuffled_by_its_seed() -> None:
    made = config(space={"train.lr": {"choices": [1, 2, 3]}, "train.batch_size": {"int": [2, 4]}})
    first, again, other = (space.grid(made.space, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len({tuple(sorted(point.items())) for point in first}) == 9
