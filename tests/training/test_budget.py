"""Learning rates against closed forms; budgets end a run where they should."""

from __future__ import annotations

import json
import math
import time

import pytest

from llmwright.training.budget import Budget, lr_factor
from llmwright.training.optimizers.config import SCHEDULES
from llmwright.training.state import State

TOTAL, WARMUP = 110, 10

CLOSED_FORMS = {
    "constant": ({}, lambda x: 1.0),
    "linear": ({"final_fraction": 0.1}, lambda x: 1 - 0.9 * x),
    "cosine": ({"final_fraction": 0.0}, lambda x: 0.5 * (1 + math.cos(math.pi * x))),
    "step": ({"num_drops": 3, "gamma": 0.5}, lambda x: 0.5 ** math.floor(4 * x + 1e-12)),
    "exponential": ({"final_fraction": 0.01}, lambda x: 10 ** (-2 * x)),
    "polynomial": ({"power": 3, "final_fraction": 0}, lambda x: (1 - x) ** 3),
}


@pytest.mark.parametrize("name", sorted(CLOSED_FORMS))
def test_schedule_follows_its_formula(name) -> None:
    options, formula = CLOSED_FORMS[name]
    schedule = SCHEDULES.get(name).model_validate({"warmup_steps": WARMUP, **options})
    for step in range(TOTAL):
        if step < WARMUP:
            expected = (step + 1) / WARMUP
        else:
            expected = formula((step - WARMUP) / (TOTAL - WARMUP))
        assert lr_factor(schedule, step, TOTAL) == pytest.approx(expected), step


def test_every_schedule_is_tested() -> None:
    assert sorted(CLOSED_FORMS) == SCHEDULES.names()


def test_warmup_as_a_share_of_the_run() -> None:
    schedule = SCHEDULES.get("constant").model_validate({"warmup_fraction": 0.25})
    assert [lr_factor(schedule, step, 8) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_total_is_foreseen_from_tokens_and_minutes() -> None:
    tokens = Budget(None, 1000, None, tokens_per_step=50.0)
    assert tokens.total_steps(State()) == 20
    assert tokens.total_steps(State(step=4, tokens=400)) == 10
    minutes = Budget(None, None, 60.0, tokens_per_step=50.0)
    assert math.isinf(minutes.total_steps(State()))
    assert minutes.total_steps(State(step=5, seconds=10.0)) == 30


@pytest.fixture
def steps_of(bench, tiny):
    dataset = bench.dataset(
        "text-generation", "pair", train=[{"input": "red ", "target": "sun"}] * 20
    )
    tokenizer = bench.tokenizer(["red sun"])

    def run(**values):
        artifact = bench.train(
            {"model": tiny(), "batch_size": 4, **values}, dataset, tokenizer, json.dumps(values)
        )
        return json.loads((artifact.path / "training.json").read_text())

    return run


def test_epochs_steps_and_tokens_end_a_run(steps_of) -> None:
    per_row = len("red sun") + 2
    assert steps_of(epochs=2)["steps"] == 10
    assert steps_of(epochs=0.4)["steps"] == 2
    assert steps_of(epochs=2, max_steps=3)["steps"] == 3
    done = steps_of(max_tokens=per_row * 4 * 2 + 1)
    assert done["steps"] == 3
    assert done["tokens"] == 3 * 4 * per_row
    assert steps_of(epochs=2, accumulate=2)["steps"] == 6


def test_minutes_end_a_run(steps_of) -> None:
    started = time.monotonic()
    done = steps_of(max_minutes=1 / 120, evaluate_every_steps=1000)
    assert 1 < done["steps"] < 2000
    assert time.monotonic() - started < 30
