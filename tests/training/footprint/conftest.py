"""Trainees as training begins with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmwright.core.artifacts import Artifact
from llmwright.training import setup
from llmwright.training.config import TrainConfig
from llmwright.training.loop import Trainee
from llmwright.training.train import make_trainee, make_validation, set_seed

ONE_THREAD = {"kind": "single", "num_threads": 1, "device": "cpu"}


@pytest.fixture
def begin(bench: Any) -> Callable[..., tuple[TrainConfig, Trainee]]:
    """Return a function that makes all of a run up to its first step."""

    def made(
        dataset: Artifact, tokenizer: Artifact, values: dict[str, Any]
    ) -> tuple[TrainConfig, Trainee]:
        config = TrainConfig.model_validate({"runtime": ONE_THREAD, **values})
        inputs, run = {"dataset": dataset, "tokenizer": tokenizer}, bench.run()
        problem = setup.define(config, inputs, run)
        material = setup.prepare(config, problem, inputs, run)
        set_seed(config.seed)
        validation = make_validation(config, problem, material)
        runtime = config.runtime.build()
        return config, make_trainee(config, problem, material, runtime, run, validation)

    return made
