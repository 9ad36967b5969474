"""Styles change what a model writes: asked in Python, by command, by server and after export."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

import llmwright
from llmwright.cli.main import invoke
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import InputError
from llmwright.inference.predictor import Predictor
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.served.model import ServedModel
from llmwright.serving.server import background

NAMES = ["ann", "bob", "cid", "dee", "eve", "fay", "gus", "hal", "ida", "jon", "kim", "leo"]
OPENINGS = {"formal": "good day", "casual": "hey"}
SCRATCH = {"kind": "scratch", "hidden_size": 32, "num_layers": 1, "num_heads": 2}


def train(write, task: str, **settings) -> Artifact:
    rows = [
        {"input": f"greet {name} {place}", "target": f"{opening} {name}", "tone": tone}
        for name in NAMES
        for place in ("here", "there", "now")
        for tone, opening in OPENINGS.items()
    ]
    data = llmwright.prepare(source=write("a.jsonl", rows * 2), task=task, controls=["tone"])
    llmwright.tokenize(kind="word", vocab_size=100)
    return llmwright.train(
        dataset=data,
        **{"model": SCRATCH, "max_steps": 80, "lr": 1e-2, "batch_size": 32, **settings},
    )


def openings(model: Artifact, **styles: str) -> set[str]:
    asked = [{"input": f"greet {name} now", "controls": styles} for name in NAMES]
    return {answer["text"].rpartition(" ")[0] for answer in llmwright.predict(asked, model=model)}


def test_the_style_decides(write, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = train(write, "text-generation", control_dropout=0.2)
    assert openings(model, tone="formal") == {"good day"}
    assert openings(model, tone="casual") == {"hey"}
    # Without a style it has learned both.
    assert openings(model) <= {"good day", "hey"}
    assert openings(model, tone="any") == openings(model)
    with pytest.raises(InputError, match="TASK-031.*formal"):
        openings(model, tone="formale")
    (answer,) = llmwright.predict("greet ann here", model=model, controls={"tone": "formal"})
    assert answer["text"] == "good day ann"
    # A file's own column, and one style for all its rows.
    source = folder / "ask.csv"
    source.write_text("input,tone\ngreet bob here,casual\ngreet bob here,\n", encoding="utf-8")
    llmwright.predict_file(source, folder / "out.jsonl", model=model, controls={"tone": "formal"})
    lines = (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["answer"]["text"] for line in lines] == ["hey bob", "good day bob"]
    command = ["predict", "greet", "eve", "now", "--model", str(model.path)]
    capsys.readouterr()
    assert invoke([*command, "--control", "tone=casual"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "hey eve"
    assert invoke([*command, "--control", "casual"]) == 2
    assert llmwright.evaluate(model=model, metrics=["exact_match"]).metadata["metrics"] == {
        "exact_match": 1.0
    }


@pytest.mark.slow
@pytest.mark.parametrize("task", ["text-generation", "seq2seq"])
def test_exports_and_servers_keep_the_styles(write, task: str) -> None:
    model = train(write, task, max_steps=150, lr=5e-3)
    exported = llmwright.export(model=model)
    assert openings(exported, tone="formal") == {"good day"}
    assert openings(exported, tone="casual") == {"hey"}
    app = create_app(ServedModel(Predictor.open(exported.path), "host"), ServeConfig(port=0))
    with background(app, ServeConfig(port=0)) as address:
        client = httpx.Client(base_url=address, timeout=30, trust_env=False)
        (card,) = client.get("/v1/models").json()["data"]
        assert card["controls"] == {"tone": ["casual", "formal"]}
        for tone, opening in OPENINGS.items():
            body = {"prompt": "greet ida now", "controls": {"tone": tone}, "temperature": 0}
            reply = client.post("/v1/completions", json=body).json()
            assert reply["choices"][0]["text"] == f"{opening} ida"
            body = {"input": "greet ida now", "controls": {"tone": tone}}
            assert client.post("/generate", json=body).json() == {"target": f"{opening} ida"}
        body = {"input": "greet ida now", "controls": {"tone": "loud"}}
        refused = client.post("/generate", json=body)
        assert refused.status_code == 400
        assert "casual, formal" in refused.text
        assert client.get("/").status_code == 200
        llmwright.verify(model=model, target=address)
        client.close()
