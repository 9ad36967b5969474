"""A classifier with dropout, ready for its first step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmwright.training import setup
from llmwright.training import train as training
from llmwright.training.config import TrainConfig
from llmwright.training.loop import Trainee

ROWS = [
    {"text": " ".join(["red" if i % 2 else "blue", *["sun"] * (i % 7)]), "label": "ab"[i % 2]}
    for i in range(24)
]


@pytest.fixture
def trainees(bench, tiny) -> Callable[..., Trainee]:
    """Return what makes one trainee after another, all of them equal."""
    dataset = bench.dataset("text-classification", "classification", train=ROWS)
    tokenizer = bench.tokenizer(["red blue sun"], "cls_sep", "word")

    def make(**values) -> Trainee:
        config = TrainConfig.model_validate(
            {
                "model": tiny("encoder", dropout=0.3),
                "runtime": {"kind": "single", "device": "cpu", "num_threads": 1},
                "precision": "float32",
                "lr": 3e-3,
                "batch_size": 8,
                "max_steps": 5,
                **values,
            }
        )
        inputs, run = {"dataset": dataset, "tokenizer": tokenizer}, bench.run()
        problem = setup.define(config, inputs, run)
        runtime = config.runtime.build()
        material = setup.prepare(config, problem, inputs, run)
        trainee = training.make_trainee(config, problem, material, runtime, run)
        training.prepare_objective(trainee, None, run)
        return trainee

    return make
