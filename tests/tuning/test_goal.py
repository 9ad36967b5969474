"""Trials are compared by a figure that means the same for all of them."""

from __future__ import annotations

import pytest

from llmwright.core.errors import ConfigError
from llmwright.data.records import DatasetInfo
from llmwright.tuning.config import TuneConfig
from llmwright.tuning.goal import refuse_changed_measure


def check(space, objective, metric="loss", row_type="preference", task="text-generation") -> None:
    train = {"objective": objective} if objective else {}
    config = TuneConfig.model_validate({"space": space, "train": train})
    info = DatasetInfo(task=task, row_type=row_type, shape="plain", fields={})
    refuse_changed_measure(config, info, metric)


BETA = {"train.objective.beta": {"log": [0.01, 1]}}
KINDS = {"train.objective": {"choices": ["dpo", "simpo"]}}
SHARE = {"train.objective.share": {"float": [0.1, 0.4]}}
KL = {"train.objective.kl_weight": {"choices": [0, 1]}}


@pytest.mark.parametrize(
    ("space", "objective", "metric", "row_type", "key", "settings", "by_accuracy"),
    [
        (BETA, "dpo", "loss", "preference", "train.objective.beta", "beta", True),
        (BETA, "kto", "loss", "flag", "train.objective.beta", "beta", True),
        (KINDS, None, "loss", "preference", "train.objective", "kind, beta", False),
        (KINDS, None, "accuracy", "preference", "train.objective", "kind", False),
        (SHARE, "masked_lm", "loss", "text", "train.objective.share", "share", False),
        (SHARE, "masked_lm", "accuracy", "text", "train.objective.share", "share", False),
        (KL, "vae", "loss", "text", "train.objective.kl_weight", "kl_weight", False),
    ],
)
def test_a_space_that_changes_the_measure_is_refused(
    space, objective, metric, row_type, key, settings, by_accuracy
) -> None:
    with pytest.raises(ConfigError) as caught:
        check({**space, "train.lr": {"log": [1e-4, 1e-2]}}, objective, metric, row_type)
    assert caught.value.code == "TUNE-020"
    assert caught.value.where == f"tune.space.{key}"
    assert f"with {settings}" in caught.value.message
    assert ("selection to accuracy" in caught.value.fix) == by_accuracy


@pytest.mark.parametrize(
    ("space", "objective", "metric", "row_type"),
    [
        ({"train.lr": {"log": [1e-4, 1e-2]}}, "dpo", "loss", "preference"),
        (BETA, "dpo", "accuracy", "preference"),
        ({"train.objective.centring": {"float": [0, 1]}}, "reward", "loss", "preference"),
        ({"train.objective.good_weight": {"float": [1, 2]}}, "kto", "loss", "flag"),
        ({"train.objective.kl_anneal_fraction": {"float": [0, 1]}}, "vae", "loss", "text"),
        (
            {"train.objective.temperature": {"float": [1, 4]}},
            {"kind": "distillation", "teacher": {"kind": "step", "name": "big"}},
            "loss",
            "text",
        ),
    ],
)
def test_what_leaves_the_measure_alone_may_vary(space, objective, metric, row_type) -> None:
    check(space, objective, metric, row_type)
