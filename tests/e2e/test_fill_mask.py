"""A masked language model from plain texts: it finds what is hidden, wherever it runs."""

from __future__ import annotations

import httpx
import pytest

import llmwright
from llmwright.core.artifacts import Artifact
from llmwright.inference.predictor import Predictor
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.served.model import ServedModel
from llmwright.serving.server import background

SOUNDS = {"cat": "meow", "dog": "woof", "cow": "moo", "owl": "hoot"}
WHEN = ["today", "now", "again", "often", "here", "there"]


@pytest.fixture
def model(write) -> Artifact:
    rows = [
        {"text": f"the {animal} says {sound} {when}"}
        for animal, sound in SOUNDS.items()
        for when in WHEN
    ]
    llmwright.prepare(source=write("sounds.jsonl", rows * 4))
    llmwright.tokenize(kind="word", vocab_size=100)
    scratch = {"kind": "scratch", "architecture": "encoder", "hidden_size": 32, "num_layers": 1}
    return llmwright.train(
        model=scratch | {"dropout": 0.0, "num_heads": 2},
        objective={"kind": "masked_lm", "share": 0.4},
        max_steps=250,
        max_length=24,
        batch_size=16,
        lr=5e-3,
    )


def test_it_fills_in_what_it_learned(model: Artifact) -> None:
    assert model.metadata["task"] == "fill-mask"
    (answer,) = llmwright.predict(["the owl says [MASK] today"], model=model)
    assert answer["text"] == "the owl says hoot today"
    (fills,) = answer["fills"]
    assert fills[0]["token"] == "hoot"
    assert [fill["score"] for fill in fills] == sorted((f["score"] for f in fills), reverse=True)
    # From the right side too, which no model that reads from the left could do.
    (answer,) = llmwright.predict(["the <mask> says moo <mask>"], model=model)
    assert answer["text"].startswith("the cow says moo ")
    assert len(answer["fills"]) == 2
    report = llmwright.evaluate(model=model)
    figures = report.metadata["metrics"]
    assert figures.keys() == {"masked_accuracy", "loss"}
    assert figures["masked_accuracy"] > 0.5
    again = llmwright.evaluate(model=model, metrics=["masked_accuracy", "perplexity"])
    assert again.metadata["metrics"]["masked_accuracy"] == figures["masked_accuracy"]


@pytest.mark.slow
def test_exports_and_servers_fill_in_the_same(model: Artifact) -> None:
    asked = "the dog says [MASK] now"
    (expected,) = llmwright.predict([asked], model=model)
    exported = llmwright.export(model=model)
    (found,) = llmwright.predict([asked], model=exported)
    assert found["text"] == expected["text"] == "the dog says woof now"
    app = create_app(ServedModel(Predictor.open(exported.path), "sounds"), ServeConfig(port=0))
    with background(app, ServeConfig(port=0)) as address:
        reply = httpx.post(f"{address}/generate", json={"text": asked}).json()
        assert reply["text"] == expected["text"]
        assert reply["fills"][0][0]["token"] == "woof"
        refused = httpx.post(f"{address}/generate", json={"text": "no place"})
        assert refused.status_code == 400
        assert "TASK-020" in refused.text
        llmwright.verify(model=model, target=address)
