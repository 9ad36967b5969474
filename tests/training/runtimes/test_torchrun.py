"""Several processes give what one gives: losses, weights, validation, and errors."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from llmwright.core.errors import ConfigError, StoppedError
from llmwright.core.events import Event, Metric, Notice
from llmwright.core.runs import Run
from llmwright.training.config import TrainConfig
from llmwright.training.train import train

CHATS = [
    {"input": "red sun " * (i % 4 + 1), "target": "snow " * (i % 5 + 1) + "moon"} for i in range(13)
]
LABELS = [
    {"text": " ".join(["red" if i % 2 else "blue", *["sun"] * (i % 7)]), "label": "ab"[i % 2]}
    for i in range(19)
]


CPU = {"kind": "single", "device": "cpu", "num_threads": 1}


def ranks(count: int = 2, **more):
    return {"kind": "torchrun", "num_processes": count, "device": "cpu", "num_threads": 1, **more}


def record(artifact):
    return json.loads((artifact.path / "training.json").read_text())


def losses(artifact) -> list[float]:
    return [entry["loss"] for entry in record(artifact)["history"]]


def same_weights(a, b, atol: float = 2e-5, file: str = "model.safetensors") -> None:
    one, two = (load_file(artifact.path / file) for artifact in (a, b))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=atol, rtol=1e-4)


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

    def learn(name: str, **more):
        return bench.train({**values, **more}, dataset, tokenizer, name)

    learn.values, learn.inputs = values, {"dataset": dataset, "tokenizer": tokenizer}
    return learn


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


@pytest.mark.slow
def test_a_share_without_targets_counts_for_nothing(bench, tiny) -> None:
    # Labels of no weight leave one process with nothing to learn; poolers are never reached.
    dataset = bench.dataset("text-classification", "classification", train=LABELS)
    tokenizer = bench.tokenizer(["red blue sun"], "cls_sep", "word")
    values = {
        "model": tiny("encoder", dropout=0.0),
        "class_weights": {"a": 0.0, "b": 2.0},
        "lr": 3e-3,
        "batch_size": 2,
        "epochs": 2,
        "precision": "float32",
        "log_every_steps": 1,
    }
    alone = bench.train(values, dataset, tokenizer, "alone")
    together = bench.train({**values, "runtime": ranks()}, dataset, tokenizer, "together")
    assert losses(together) == pytest.approx(losses(alone), rel=1e-4)
    same_weights(alone, together)


def judged(name: str) -> tuple[str, list[dict]]:
    """Return rows that an objective learns from, answers of all lengths, and their type."""
    prompts = [[{"role": "user", "content": "red " * (i % 3 + 1)}] for i in range(9)]
    answers = [("sun " * (i % 4 + 1), "snow") for i in range(9)]
    asked = list(zip(prompts, answers, strict=True))
    if name == "kto":
        flags = [(i % 2 == 0, prompt, both[i % 2]) for i, (prompt, both) in enumerate(asked)]
        return "flag", [{"prompt": p, "completion": a, "flag": good} for good, p, a in flags]
    return "preference", [{"prompt": p, "chosen": a, "rejected": b} for p, (a, b) in asked]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sharding"), [("dpo", "fsdp2"), ("kto", "fsdp2"), ("kto", "ddp")])
def test_preferences_have_the_reference_of_one_process(bench, tiny, name, sharding) -> None:
    row_type, rows = judged(name)
    dataset = bench.dataset("text-generation", row_type, train=rows, validation=rows)
    tokenizer = bench.tokenizer(["red sun snow"])
    values = {
        "model": tiny(num_layers=2),
        "objective": {"kind": name},
        "lr": 3e-3,
        "batch_size": 4,
        "epochs": 3,
        "precision": "float32",
        "log_every_steps": 1,
    }
    alone = bench.train(values, dataset, tokenizer, "alone")
    spread = {**values, "runtime": ranks(sharding=sharding)}
    together = bench.train(spread, dataset, tokenizer, "together")
    assert losses(alone)[-1] < losses(alone)[0]
    assert losses(together) == pytest.approx(losses(alone), rel=1e-4)
    for one, two in zip(record(alone)["evaluations"], record(together)["evaluations"], strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    same_weights(alone, together)


@pytest.mark.slow
def test_an_adapter_learns_alike(bench, writer) -> None:
    base = writer("base", epochs=1)
    values = {
        "model": {"kind": "hub", "name": str(base.path)},
        "adapter": {"kind": "lora", "rank": 4},
        "lr": 1e-2,
    }
    alone = writer("alone", **values)
    together = writer("together", **values, runtime=ranks(sharding="fsdp2"))
    assert losses(together) == pytest.approx(losses(alone), rel=1e-4)
    same_weights(alone, together, file="adapter_model.safetensors")


@pytest.mark.slow
def test_an_optimizer_that_needs_whole_weights_is_refused(writer) -> None:
    with pytest.raises(ConfigError, match="TRAIN-126"):
        writer("x", optimizer={"kind": "adafactor"}, runtime=ranks(sharding="fsdp2"))


class StoppingRun(Run):
    """Asks to stop as soon as it has heard of a step."""

    heard = 0

    def emit(self, event) -> None:
        super().emit(event)
        if isinstance(event, Metric) and event.split == "train":
            self.heard = event.step

    def should_stop(self) -> bool:
        return self.heard >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ranks(2, sharding="fsdp2"), ranks(1, sharding="ddp")),
        (CPU, ranks(2, sharding="fsdp2")),
        (ranks(2), CPU),
    ],
    ids=["two to one", "alone to two", "two to alone"],
)
def test_a_run_goes_on_with_another_number_of_processes(bench, writer, before, after) -> None:
    seldom = {"epochs": 40, "evaluate_every_steps": 40, "sample_prompts": []}
    values, inputs = writer.values | seldom, writer.inputs
    run = StoppingRun("stopped", bench.root / "runs" / "stopped", bench.root, bench.store)
    run.folder.mkdir(parents=True)
    with pytest.raises(StoppedError):
        train(TrainConfig.model_validate({**values, "runtime": before}), inputs, run)
    assert 3 <= run.heard < 80
    events: list[Event] = []
    run = Run("stopped", run.folder, bench.root, bench.store, [events.append])
    stopped = train(TrainConfig.model_validate({**values, "runtime": after}), inputs, run)
    assert any(isinstance(e, Notice) and "Going on from the checkpoint" in e.text for e in events)
    whole = writer("whole", **seldom)
    assert len(losses(whole)) == 80
    assert losses(stopped) == pytest.approx(losses(whole), rel=1e-3)
    same_weights(whole, stopped, atol=1e-3)
