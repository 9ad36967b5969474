"""A reward model from pairs of answers: scores that put the better answer ahead, everywhere."""

from __future__ import annotations

import httpx
import pytest

import llmwright
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import InputError
from llmwright.inference.predictor import Predictor
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.served.model import ServedModel
from llmwright.serving.server import background

THINGS = ["tea", "bread", "soup", "rice", "fish", "cake", "milk", "corn", "plum", "pear"]


def train(write, architecture: str, **more) -> Artifact:
    rows = [
        {"prompt": f"may i have {a} or {b}", "chosen": f"gladly {a}", "rejected": f"no {a}"}
        for a in THINGS
        for b in THINGS
    ]
    llmwright.prepare(source=write("pairs.jsonl", rows))
    llmwright.tokenize(kind="char")
    scratch = {"kind": "scratch", "architecture": architecture, "hidden_size": 32}
    scratch |= {"num_layers": 1, "num_heads": 2}
    return llmwright.train(
        model=scratch, objective="reward", max_steps=60, lr=5e-3, batch_size=8, **more
    )


@pytest.mark.parametrize("architecture", ["decoder", "encoder"])
def test_better_answers_score_higher(write, architecture: str) -> None:
    model = train(write, architecture)
    assert model.metadata["task"] == "reward"
    good, bad = llmwright.predict(
        [{"prompt": "may i have tea or cake", "answer": text} for text in ("gladly tea", "no tea")],
        model=model,
    )
    assert good.keys() == {"score"}
    assert good["score"] > bad["score"]
    figures = llmwright.evaluate(model=model).metadata["metrics"]
    assert figures == {"preference_accuracy": 1.0}
    with pytest.raises(InputError, match="TASK-022"):
        llmwright.predict([{"messages": [{"role": "user", "content": "hello"}]}], model=model)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["auto", "generated"])
def test_exports_and_servers_score_the_same(write, source: str) -> None:
    model = train(write, "decoder", probes={"source": source})
    turns = [{"role": "user", "content": "may i"}, {"role": "assistant", "content": "gladly"}]
    (expected,) = llmwright.predict([{"messages": turns}], model=model)
    exported = llmwright.export(model=model)
    app = create_app(ServedModel(Predictor.open(exported.path), "judge"), ServeConfig(port=0))
    with background(app, ServeConfig(port=0)) as address:
        for body in ({"messages": turns}, {"prompt": "may i", "answer": "gladly"}):
            reply = httpx.post(f"{address}/generate", json=body).json()
            assert reply == {"score": pytest.approx(expected["score"], abs=1e-4)}
        llmwright.verify(model=model, target=address)
