"""Planned time has every part of a run."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import llmwright
from llmwright.core.events import Progress
from llmwright.planning.pace import (
    OtherPrograms,
    new_shapes,
    num_checkpoints,
    reckoned_reference,
)
from llmwright.planning.plan import Encoding
from llmwright.training.config import TrainConfig

PAIRS = [{"input": f"two times {n} is ", "target": str(2 * n)} for n in range(40)]


@pytest.mark.parametrize(
    ("steps", "interval", "minutes", "seconds", "count"),
    [
        (100, 10, 5, 1, 10),
        (105, 10, 5, 1, 11),
        (100, 100, 5, 300, 1),
        # By the clock: after 5, 10 and 15 minutes, then the interval itself.
        (100, 100, 5, 20 * 60, 4),
        (100, 50, 1, 90, 4),
    ],
)
def test_checkpoints_are_counted_by_steps_and_by_the_clock(
    steps: int, interval: int, minutes: float, seconds: float, count: int
) -> None:
    config = TrainConfig(checkpoint_every_minutes=minutes)
    assert num_checkpoints(config, steps, interval, seconds) == count


def test_sample_prompts_and_checkpoints_take_their_time(project: Any) -> None:
    prompts = {"sample_prompts": ["two times 7 is ", "two times 8 is "]}
    root = project(PAIRS, "text-generation", max_steps=40, evaluate_every_steps=10, **prompts)
    pace = llmwright.plan(root)["train"]["pace"]
    assert pace["samples"] > 0
    assert (pace["num_evaluations"], pace["num_checkpoints"]) == (4, 4)
    parts = ("start", "steps", "evaluations", "samples", "checkpoints", "finish")
    assert pace["total"] == pytest.approx(sum(pace[part] for part in parts))
    often = llmwright.plan(root, overrides={"train.checkpoint_every_steps": 2})["train"]["pace"]
    assert (often["num_evaluations"], often["num_checkpoints"]) == (4, 20)
    assert llmwright.plan(root, overrides={"train.sample_prompts": []})["train"]["pace"][
        "samples"
    ] == 0  # fmt: skip


def test_what_the_run_finds_encoded_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 2.0, 5.0, 10.0, 11.0])
    monkeypatch.setattr("llmwright.planning.plan.time.monotonic", lambda: next(clock))
    encoding = Encoding()
    for stage in ("encode_train", "encode_train", "encode_train", "encode_validation"):
        encoding(Progress(stage, 0, 9, "rows"))
    encoding(Progress("encode_validation", 9, 9, "rows"))
    assert encoding.seconds == 4 + 1


def test_a_shape_is_new_once() -> None:
    trainee: Any = SimpleNamespace(
        batches=SimpleNamespace(num_places=lambda indices_B: int(indices_B[0]) * len(indices_B))
    )

    def group(*lengths: int) -> list[np.ndarray]:
        return [np.array([length, length]) for length in lengths]

    found = new_shapes(trainee, [group(9)], [group(5), group(5), group(9), group(7, 8)])
    assert found.tolist() == [1, 0, 0, 2]


def test_other_programs_are_noticed() -> None:
    work = "import time\nwhile time.process_time() < 0.5: pass"
    measured = OtherPrograms()
    before = measured._read()
    subprocess.run([sys.executable, "-c", work], check=True)
    whole, used, own = (now - then for now, then in zip(measured._read(), before, strict=True))
    assert whole > 0.4
    assert used - own > 0.3
    assert 0.0 < measured.share() <= 1.0


def test_the_reference_is_a_third_of_the_steps_of_an_epoch_and_asked_for_both_splits() -> None:
    def split(num_batches: int) -> Any:
        batches = [np.arange(8)] * num_batches
        return SimpleNamespace(
            epoch=lambda _: batches, num_places=len, num_batches=lambda _: num_batches
        )

    def seconds(needs_reference: bool) -> float:
        objective = SimpleNamespace(needs_reference=needs_reference)
        trainee: Any = SimpleNamespace(batches=split(12), accumulate=2, objective=objective)
        validation: Any = SimpleNamespace(batches=split(4))
        return reckoned_reference(trainee, validation, step=3.0)

    # Six steps an epoch; the other split has a third of the rows.
    assert seconds(needs_reference=True) == pytest.approx(6 * 3.0 / 3 * (1 + 1 / 3))
    assert seconds(needs_reference=False) == 0
