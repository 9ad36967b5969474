"""A plan says what the run then is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import llmwright
from llmwright.api import open_project
from llmwright.cli.main import invoke
from llmwright.core import files
from llmwright.core.errors import ConfigError

CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"Water plant {n}?"},
            {"role": "assistant", "content": f"Yes, {n % 5} times."},
        ]
    }
    for n in range(40)
]


def test_a_plan_is_what_the_run_then_is(project: Any) -> None:
    root = project(CHATS, "text-generation", epochs=2, batch_size=8)
    body = llmwright.plan(root)["train"]
    model = llmwright.run(root)["train"]
    record = files.read_json(model.path / "training.json")
    assert body["steps"] == record["steps"]
    assert body["tokens"] == pytest.approx(record["tokens"], rel=0.02)
    assert body["parameters"] == body["trainable"] == model.metadata["num_parameters"]
    assert body["precision"] == record["resolved"]["precision"]
    measured = model.metadata["measured"]
    assert body["memory"]["fits"]
    assert 0.5 < body["memory"]["peak"] / measured["peak_memory_bytes"] < 2
    assert body["pace"]["low"] < body["pace"]["total"] < body["pace"]["high"]
    assert body["pace"]["num_evaluations"] == len(record["evaluations"])
    assert body["disk"]["artifact"] == pytest.approx(_bytes_of(model.path), rel=0.3)
    # Nothing of it is kept but the dataset and the tokenizer, which the run took over.
    assert not list((root / ".llmwright").glob("plan-*"))
    assert [row.step for row in open_project(root).index.runs()] == [
        "train", "tokenize", "prepare"
    ]  # fmt: skip


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_command_shows_the_mask_and_the_stop_token(
    project: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = project(CHATS, "text-generation", epochs=1)
    svg = tmp_path / "rows.svg"
    words = ["plan", "--no-measure", "train.epochs=4", "--project", str(root), "--svg", str(svg)]
    assert invoke(words) == 0
    shown = capsys.readouterr().out
    assert "⟦Yes, " in shown
    assert "⟦<eos>⟧" in shown
    assert "Water plant 0?<eos>" in shown
    assert "32 of 32 answers" in shown
    assert "Yes," in svg.read_text(encoding="utf-8")
    assert invoke([*words[:5], "--json"]) == 0
    body = json.loads(capsys.readouterr().out)["plans"]["train"]
    assert body["epochs"] == pytest.approx(4)
    assert body["pace"] is None
    assert body["disk"] is None


def test_a_step_after_another_waits_for_its_model(project: Any) -> None:
    root = project(CHATS, "text-generation")
    file = root / "llmwright.yaml"
    body = json.loads(file.read_text(encoding="utf-8"))
    first = body["train"]
    then = first | {"name": "second", "model": {"kind": "step", "name": "first"}}
    body["train"] = [first | {"name": "first"}, then]
    file.write_text(json.dumps(body), encoding="utf-8")
    found = llmwright.plan(root, measure=False)
    assert found["first"]["parameters"] > 0
    assert found["second"]["error"]["code"] == "TRAIN-210"
    assert set(llmwright.plan(root, measure=False, only=["first"])) == {"first"}
    # What no step is called is a mistake.
    for wrong in ({"train.second.model.name": "frist"}, {"train.second.dataset": "prepaer"}):
        with pytest.raises(ConfigError) as caught:
            llmwright.plan(root, measure=False, only=["second"], overrides=wrong)
        assert caught.value.code == "CORE-031"
    with pytest.raises(ConfigError) as caught:
        llmwright.plan(root, only=["third"])
    assert caught.value.code == "CORE-059"
