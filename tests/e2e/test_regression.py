"""Numbers for texts: learned in one unit, answered in it by model, table, server and export."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import httpx
import pytest

import llmwright
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ConfigError
from llmwright.inference.predictor import Predictor
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.served.model import ServedModel
from llmwright.serving.server import background

WORDS = {"awful": 0, "poor": 100, "fair": 250, "good": 400, "great": 500}
THINGS = ["room", "food", "bed", "view", "staff", "bar", "pool", "lift"]
PRICE = 1000.0


@pytest.fixture
def model(write) -> Artifact:
    rows = [
        {"review": f"the {thing} is {a} and {b}", "price": PRICE + WORDS[a] + WORDS[b]}
        for thing in THINGS
        for a in WORDS
        for b in WORDS
    ]
    columns = {"text": "review", "value": "price"}
    data = llmwright.prepare(source=write("prices.jsonl", rows), columns=columns)
    assert data.metadata["task"] == "text-regression"
    llmwright.tokenize(kind="word", vocab_size=100)
    scratch = {"kind": "scratch", "architecture": "recurrent", "hidden_size": 24}
    return llmwright.train(model=scratch, epochs=30, lr=1e-2, batch_size=16)


def test_answers_are_in_the_users_unit(model: Artifact, folder: Path) -> None:
    low, high = llmwright.predict(["the room is awful and awful", "the bed is great and great"])
    assert low.keys() == {"value"}
    assert low["value"] == pytest.approx(PRICE, abs=150)
    assert high["value"] == pytest.approx(PRICE + 1000, abs=150)
    report = llmwright.evaluate()
    figures = report.metadata["metrics"]
    assert figures["pearson"] > 0.95
    assert figures["mae"] < 100
    assert figures["rmse"] >= figures["mae"]
    assert "pearson" in (report.path / "report.html").read_text(encoding="utf-8")
    row = json.loads((report.path / "predictions.jsonl").read_text().splitlines()[0])
    assert isinstance(row["reference"], float)
    assert 0 <= row["score"] <= 1
    source = folder / "ask.csv"
    source.write_text("review\nthe bar is good and good\n", encoding="utf-8")
    llmwright.predict_file(source, folder / "out.csv")
    with (folder / "out.csv").open() as file:
        (answer,) = csv.DictReader(file)
    assert float(answer["answer"]) == pytest.approx(PRICE + 800, abs=150)


@pytest.mark.slow
def test_exports_and_servers_give_the_same_numbers(model: Artifact) -> None:
    asked = ["the pool is good and poor", "the lift is fair and awful"]
    expected = [one["value"] for one in llmwright.predict(asked, model=model)]
    exported = llmwright.export(model=model)
    assert [one["value"] for one in llmwright.predict(asked, model=exported)] == pytest.approx(
        expected, abs=0.01
    )
    llmwright.verify(model=model)
    app = create_app(ServedModel(Predictor.open(exported.path), "prices"), ServeConfig(port=0))
    with background(app, ServeConfig(port=0)) as address:
        reply = httpx.post(f"{address}/generate", json={"review": asked[0]})
        assert reply.json() == {"price": pytest.approx(expected[0], abs=0.01)}
        assert httpx.post(f"{address}/v1/classify", json={"input": "x"}).status_code == 400
        llmwright.verify(model=model, target=address)


def test_there_is_no_accuracy_of_numbers(write) -> None:
    rows = [{"text": f"number {i}", "value": i / 7} for i in range(40)]
    llmwright.prepare(source=write("a.jsonl", rows), task="text-regression")
    llmwright.tokenize(kind="char")
    scratch = {"kind": "scratch", "architecture": "recurrent", "hidden_size": 8}
    model = llmwright.train(model=scratch, max_steps=4)
    assert "best_loss" in model.metadata
    assert "best_accuracy" not in model.metadata
    assert "accuracy" not in (model.path / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="TASK-023"):
        llmwright.train(model=scratch, max_steps=4, selection="accuracy")
