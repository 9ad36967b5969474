"""A tiny trained base with adapters on it, made once per session."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmwright.core.artifacts import Artifact
from llmwright.training.config import TrainConfig
from llmwright.training.train import train

_spec = importlib.util.spec_from_file_location(
    "training_conftest", Path(__file__).parents[1] / "training" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
training: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(training)

ROWS = [{"input": "red sun", "target": "warm"}, {"input": "blue ice", "target": "cold"}]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    return training.Workbench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="session")
def base(bench: Any) -> Artifact:
    values = {**training.TINY, "architecture": "decoder"}
    settings = {"model": values, "max_steps": 30, "batch_size": 2, "lr": 1e-2}
    found: Artifact = bench.train(settings, pairs(bench), tokenizer(bench), "base")
    return found


def pairs(bench: Any) -> Artifact:
    found: Artifact = bench.dataset("text-generation", "pair", train=ROWS, validation=ROWS)
    return found


def tokenizer(bench: Any) -> Artifact:
    found: Artifact = bench.tokenizer(["red sun blue ice warm cold"])
    return found


@pytest.fixture(scope="session")
def adapted(bench: Any, base: Artifact) -> Callable[..., Artifact]:
    """Return what trains an adapter on the base."""

    def make(name: str, **adapter: Any) -> Artifact:
        config = TrainConfig.model_validate(
            {
                "runtime": {"kind": "single", "num_threads": 1, "device": "cpu"},
                "model": {"kind": "step"},
                "max_steps": 4,
                "batch_size": 2,
                "lr": 1e-2,
                "adapter": adapter,
            }
        )
        inputs = {"dataset": pairs(bench), "model.name": base}
        return train(config, inputs, bench.run(name))

    return make
