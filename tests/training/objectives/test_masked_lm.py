"""Masked tokens are learned, others in each epoch, and the reward of a chosen answer rises."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.training.objectives.test_judged import FAST, PAIRS, TEXTS

from llmwright.inference.predictor import Predictor
from llmwright.models.load import load_model, load_tokenizer
from llmwright.tasks.contract import Contract
from llmwright.tasks.reward import Reward
from llmwright.tasks.task import IGNORE
from llmwright.training.objectives.config import OBJECTIVES
from llmwright.training.objectives.objective import ObjectiveRequest

SENTENCES = ["red sun", "blue rain", "cold snow", "warm sand"]


@pytest.fixture
def filled(bench, tiny):
    """A model that knows the sentences by heart."""
    rows = [{"text": text} for text in SENTENCES * 8]
    dataset = bench.dataset("text-generation", "text", train=rows, validation=rows[:8])
    values = {
        **FAST,
        "lr": 1e-2,
        "model": tiny("encoder", hidden_size=32, num_layers=2),
        "max_steps": 300,
    }
    values |= {"objective": {"kind": "masked_lm", "share": 0.3}, "max_length": 16}
    return bench.train(values, dataset, bench.tokenizer(SENTENCES))


def test_what_was_masked_is_learned(filled) -> None:
    history = json.loads((filled.path / "training.json").read_text())
    first, last = history["evaluations"][0], history["evaluations"][-1]
    assert last["loss"] < 0.5 * first["loss"]
    contract = Contract.open(filled.path)
    assert contract.task == "fill-mask"
    predictor = Predictor.open(filled.path)
    answer = predictor.predict([{"text": f"red s{contract.mask_token}n"}])
    assert next(iter(answer))["text"] == "red sun"


def test_other_tokens_are_masked_in_another_epoch_and_the_same_on_the_next_run(filled) -> None:
    model, contract = load_model(filled.path), Contract.open(filled.path)
    objective = OBJECTIVES.get("masked_lm")().build(ObjectiveRequest(model, contract))
    ids_BT = np.array([load_tokenizer(filled.path)("red sun blue rain")["input_ids"]] * 2)

    def masked(epoch: int) -> np.ndarray:
        keys = np.array([[epoch, 0], [epoch, 1]])
        batch = {"input_ids": ids_BT, "labels": ids_BT, "keys": keys}
        return objective.arrays(batch)["input_ids"]

    assert np.array_equal(masked(0), masked(0))
    assert not np.array_equal(masked(0), masked(1))
    assert not np.array_equal(masked(0)[0], masked(0)[1])
    arrays = objective.arrays(
        {"input_ids": ids_BT, "labels": ids_BT, "keys": np.zeros((2, 2), dtype=np.int64)}
    )
    assert (ids_BT.reshape(-1)[arrays["positions"]] == arrays["targets"]).all()


def test_long_texts_come_in_windows(bench, tiny) -> None:
    rows = [{"text": " ".join(SENTENCES * 4)}]
    dataset = bench.dataset("text-generation", "text", train=rows)
    values = {**FAST, "model": tiny("encoder"), "max_steps": 2, "objective": "masked_lm"}
    artifact = bench.train({**values, "max_length": 16}, dataset, bench.tokenizer(SENTENCES))
    record = json.loads((artifact.path / "training.json").read_text())
    assert record["tokens"] > 2 * 16


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
def test_chosen_answers_get_the_higher_reward(architecture, bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "preference", train=PAIRS, validation=PAIRS[:4])
    values = {**FAST, "model": tiny(architecture, hidden_size=32), "max_steps": 40}
    artifact = bench.train({**values, "objective": "reward"}, dataset, bench.tokenizer(TEXTS))
    contract = Contract.open(artifact.path)
    assert contract.task == "reward"
    scores = []
    predictor = Predictor.open(artifact.path)
    for answer in (PAIRS[0]["chosen"], PAIRS[0]["rejected"]):
        row = Reward().read({"prompt": "hi", "answer": answer}, contract)
        scores.append(next(iter(predictor.predict([row])))["score"])
    assert scores[0] > scores[1] + 0.5


def test_padding_is_never_masked(filled) -> None:
    model, contract = load_model(filled.path), Contract.open(filled.path)
    objective = OBJECTIVES.get("masked_lm")().build(ObjectiveRequest(model, contract))
    pad = contract.special_tokens["pad"]
    ids_BT = np.array([[7, 8, 9, pad, pad]])
    labels_BT = np.where(ids_BT == pad, IGNORE, ids_BT)
    batch = {
        "input_ids": ids_BT,
        "labels": labels_BT,
        "attention_mask": (ids_BT != pad).astype(np.int64),
        "keys": np.zeros((1, 2), dtype=np.int64),
    }
    arrays = objective.arrays(batch)
    assert (arrays["positions"] < 3).all()
    assert torch.from_numpy(arrays["attention_mask"]).sum() == 3
