"""Several processes give what one gives: losses, weights, validation, and errors."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

CHATS = [
    {"input": "red sun " * (i % 4 + 1), "target": "snow " * (i % 5 + 1) + "moon"} for i in range(13)
]
LABELS = [
    {"text": " ".join(["red" if i % 2 else "blue", *["sun"] * (i % 7)]), "label": "ab"[i % 2]}
    for i in range(19)
]


def ranks(count: int = 2, **more):
    return {"kind": "torchrun", "num_processes": count, "device": "cpu", "num_threads": 1, **more}


def record(artifact):
    return json.loads((artifact.path / "training.json").read_text())


def losses(artifact) -> list[float]:
    return [entry["loss"] for entry in record(artifact)["history"]]


def same_weights(a, b) -> None:
    one, two = (load_file(artifact.path / "model.safetensors") for artifact in (a, b))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=2e-5, rtol=1e-4)


@pytest.fixture
def writer(bench, tiny):
    """Train on completions: 13 rows, batches of 4, so the last batch has a single row."""
    dataset = bench.dataset("text-generation", "pair", train=CHATS, validation=CHATS[:5])
    tokenizer = bench.tokenizer(["red sun snow moon"])
    values = {
        "model": tiny(num_layers=2),
        "lr": 3e-3,
        "batch_size": 4,
        "accumulate": 3,
        "epochs": 4,
        "precision": "float32",
        "log_every_steps": 1,
        "evaluate_every_steps": 4,
        "sample_prompts": ["red"],
    }

    def train(name: str, **more):
        return bench.train({**values, **more}, dataset, tokenizer, name)

    return train


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_two_processes_learn_what_one_learns(writer, sharding) -> None:
    alone = writer("alone")
    together = writer("together", runtime=ranks(sharding=sharding))
    assert losses(together) == pytest.approx(losses(alone), rel=1e-4)
    assert losses(alone)[-1] < losses(alone)[0] - 0.1
    for one, two in zip(record(alone)["evaluations"], record(together)["evaluations"], strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    same_weights(alone, together)
