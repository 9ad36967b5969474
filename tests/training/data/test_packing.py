"""Rows joined without padding are learned as if each stood alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.objectives.test_judged import small_model

from llmwright.core.errors import ConfigError
from llmwright.core.events import Notice
from llmwright.models.load import load_model
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS, Example
from llmwright.training.data.batching import BucketedRows
from llmwright.training.data.packing import PackedRows
from llmwright.training.objectives.config import OBJECTIVES
from llmwright.training.objectives.objective import ObjectiveRequest

LENGTHS = (3, 9, 5, 12, 2, 7)


def contract() -> Contract:
    return Contract(
        task="text-generation",
        row_type="pair",
        model_type="llama",
        num_parameters=1,
        fields={},
        max_length=16,
        special_tokens={"pad": 0},
    )


def examples() -> list[Example]:
    random = np.random.default_rng(0)
    found = []
    for length in LENGTHS:
        ids_T = random.integers(1, 20, length)
        labels_T = ids_T.copy()
        labels_T[: length // 3] = -100
        found.append(Example(ids_T, labels_T))
    return found


def summed(kind: type, model, limit: int, **values):
    """Return summed loss, gradient and targets per row of an epoch."""
    objective = OBJECTIVES.get("causal_lm")().build(ObjectiveRequest(model, contract()))
    task = TASKS.get("text-generation")()
    batches = kind(examples(), range(len(LENGTHS)), task, contract(), None, limit, 0)
    model.zero_grad()
    total, per_row = 0.0, np.zeros(len(LENGTHS))
    for indices_B in batches.epoch(0):
        arrays = objective.arrays(batches.collate(indices_B, 0))
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        losses_N = objective.losses(model, tensors, 0.0)
        losses_N.sum().backward()
        total += float(losses_N.detach().sum())
        np.add.at(per_row, indices_B[objective.rows_of(arrays)], losses_N.detach().numpy())
    return total, model.get_input_embeddings().weight.grad.clone(), per_row, batches


def test_loss_and_gradient_are_those_of_rows_that_stand_alone(bench) -> None:
    from llmwright.models.load import load_tokenizer

    model = small_model(load_tokenizer(bench.tokenizer(["abcdefghijklmnopqrst"]).path))
    loss, gradient, rows, _ = summed(BucketedRows, model, 16)
    packed_loss, packed_gradient, packed_rows, batches = summed(PackedRows, model, 20)
    assert packed_loss == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(packed_gradient, gradient, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(packed_rows, rows, rtol=1e-4)
    planned = batches.epoch(0)
    assert sorted(np.concatenate(planned).tolist()) == list(range(len(LENGTHS)))
    assert all(batches.count_tokens(indices_B) <= 20 for indices_B in planned)
    assert len(planned) < len(LENGTHS)


def test_a_run_may_ask_for_it_and_hears_why_it_is_off(bench, tiny) -> None:
    rows = [{"input": a, "target": b} for a, b in [("red ", "sun"), ("cold ", "snow")]] * 4
    dataset = bench.dataset("text-generation", "pair", train=rows)
    tokenizer = bench.tokenizer(["red sun", "cold snow"])
    values = {"model": tiny(), "max_steps": 30, "lr": 1e-2, "batch_tokens": 40}
    bench.train(values, dataset, tokenizer, "auto")
    assert any("not joined" in e.text for e in bench.events if isinstance(e, Notice))
    artifact = bench.train({**values, "packing": True}, dataset, tokenizer, "packed")
    assert load_model(artifact.path).num_parameters() > 0
    said = [e.text for e in bench.events if isinstance(e, Notice)]
    assert any("joined without padding" in sentence for sentence in said)


def test_what_cannot_be_joined_is_refused(bench, tiny) -> None:
    rows = [{"text": "red", "label": "a"}, {"text": "blue", "label": "b"}] * 2
    dataset = bench.dataset("text-classification", "classification", train=rows)
    tokenizer = bench.tokenizer(["red blue"])
    with pytest.raises(ConfigError, match="TRAIN-030.*classification"):
        bench.train({"model": tiny("encoder"), "max_steps": 1, "packing": True}, dataset, tokenizer)
    pairs = bench.dataset("text-generation", "pair", train=[{"input": "r", "target": "b"}] * 2)
    recurrent = {"kind": "scratch", "architecture": "recurrent", "hidden_size": 8}
    with pytest.raises(ConfigError, match="TRAIN-031"):
        bench.train({"model": recurrent, "max_steps": 1, "packing": True}, pairs, tokenizer, "r")


def test_activations_may_be_computed_twice(bench, tiny) -> None:
    rows = [{"input": "red ", "target": "sun"}] * 8
    dataset = bench.dataset("text-generation", "pair", train=rows)
    tokenizer = bench.tokenizer(["red sun"])
    values = {"model": tiny(num_layers=2), "max_steps": 5, "lr": 1e-2, "batch_size": 4}
    plain = bench.train(values, dataset, tokenizer, "plain")
    twice = bench.train({**values, "checkpointing": True}, dataset, tokenizer, "twice")
    for name, weight in load_model(plain.path).state_dict().items():
        torch.testing.assert_close(load_model(twice.path).state_dict()[name], weight)


def test_gpu_only_options_are_refused_without_a_gpu(bench, tiny) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from llmwright.core.errors import ResourceError

    dataset = bench.dataset("text-generation", "pair", train=[{"input": "r", "target": "b"}] * 2)
    tokenizer = bench.tokenizer(["rb"])
    for values, code in (
        ({"kernels": True}, "TRAIN-033"),
        ({"optimizer": "adamw_8bit"}, "TRAIN-034"),
    ):
        with pytest.raises(ResourceError, match=code):
            bench.train({"model": tiny(), "max_steps": 1, **values}, dataset, tokenizer, code)
