"""Rows of two rival answers: what a model that writes texts is measured by on them."""

from __future__ import annotations

import json

import pytest

import llmwright
from llmwright.core.artifacts import Artifact

ANIMALS = ["cat", "dog", "owl", "fox", "hen", "cow", "pig", "bee", "ant", "bat"]


def test_a_model_prefers_what_it_learned_to_write(write) -> None:
    said = [
        {
            "messages": [
                {"role": "user", "content": f"a {one} {two}"},
                {"role": "assistant", "content": "yes it is"},
            ]
        }
        for one in ANIMALS
        for two in ANIMALS
    ]
    rivals = [
        {"prompt": f"a {one} {two}", "chosen": "yes it is", "rejected": "si ti sey"}
        for one in ANIMALS
        for two in ANIMALS
    ]
    # In one of five rows the people preferred what the model never saw.
    for row in rivals[::5]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    chats = llmwright.prepare(source=write("chats.jsonl", said))
    llmwright.tokenize(kind="char", dataset=chats)
    scratch = {"kind": "scratch", "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    model = llmwright.train(dataset=chats, model=scratch, max_steps=40, lr=1e-2)
    pairs = llmwright.prepare(source=write("pairs.jsonl", rivals), split={"test": 0.5})
    report = llmwright.evaluate(model=model, dataset=pairs)
    figures = report.metadata["metrics"]
    rows = llmwright_rows(report)
    right = sum(row["reference"] == "yes it is" for row in rows) / len(rows)
    assert figures["preference_accuracy"] == right
    assert 0.5 < right < 1
    assert figures["perplexity"] > 1.5
    assert {row["prediction"] for row in rows} == {"yes it is"}
    assert rows[0]["scores"].keys() == {"chosen", "rejected"}
    judged = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in rivals[1::5]
        for side in ("chosen", "rejected")
    ]
    flags = llmwright.prepare(source=write("flags.jsonl", judged), split={"test": 0.5})
    figures = llmwright.evaluate(model=model, dataset=flags).metadata["metrics"]
    assert 1 <= figures["perplexity"] < 1.5


def llmwright_rows(report: Artifact) -> list[dict]:
    lines = (report.path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("objective", [{"kind": "dpo", "sft_weight": 1.0}, "orpo"])
def test_training_on_pairs_moves_the_preference(write, objective) -> None:
    said = [
        {
            "messages": [
                {"role": "user", "content": f"a {one} {two}"},
                {"role": "assistant", "content": text},
            ]
        }
        for one in ANIMALS
        for two in ANIMALS
        for text in ("so it is", "no it is not")
    ]
    rivals = [
        {"prompt": f"a {one} {two}", "chosen": "no it is not", "rejected": "so it is"}
        for one in ANIMALS
        for two in ANIMALS
    ]
    chats = llmwright.prepare(source=write("chats.jsonl", said))
    llmwright.tokenize(kind="char", dataset=chats)
    scratch = {"kind": "scratch", "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    before = llmwright.train(dataset=chats, model=scratch, max_steps=40, lr=1e-2)
    pairs = llmwright.prepare(source=write("pairs.jsonl", rivals), split={"test": 0.3})
    after = llmwright.train(
        dataset=pairs,
        model={"kind": "step", "name": before},
        objective=objective,
        max_steps=40,
        lr=2e-3,
    )
    figures = [
        llmwright.evaluate(model=model, dataset=pairs).metadata["metrics"]["preference_accuracy"]
        for model in (before, after)
    ]
    assert figures[0] < 0.9
    assert figures[1] == 1.0
    assert llmwright.predict("a cat owl", model=after)[0]["text"] == "no it is not"
