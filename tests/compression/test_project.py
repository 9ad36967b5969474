"""Base, adapter, merge in one project file; and the adapter wherever a model can stand."""

from __future__ import annotations

from pathlib import Path

import pytest

import llmwright
from llmwright.core.errors import LLMwrightError

PROJECT = """
name: adapters
prepare: {source: rows.csv, split: {validation: 0.2, seed: 1}}
tokenize: {kind: char}
train:
  - name: base
    model: {kind: scratch, architecture: seq2seq, hidden_size: 16, num_layers: 1, num_heads: 2}
    max_steps: 4
    lr: 0.003
  - name: sft
    model: {kind: step, name: base}
    adapter: {kind: lora, rank: 2}
    lr: 0.01
    max_steps: 4
compress: {kind: merge}
"""
COLOURS = {"red": "warm", "orange": "warm", "blue": "cold", "white": "cold"}
THINGS = ("sun", "ice", "sky", "sea", "snow", "fire")


@pytest.mark.slow
def test_a_project_file_trains_adapts_and_merges(tmp_path: Path) -> None:
    rows = [f"{colour} {thing},{kind}" for colour, kind in COLOURS.items() for thing in THINGS]
    (tmp_path / "rows.csv").write_text("\n".join(["input,target", *rows]), encoding="utf-8")
    (tmp_path / "llmwright.yaml").write_text(PROJECT, encoding="utf-8")
    made = llmwright.run(tmp_path)
    assert (made["sft"].path / "adapter_model.safetensors").is_file()
    assert (made["compress"].path / "model.safetensors").is_file()
    assert made["compress"].metadata["parity"]["passed"]
    assert llmwright.verify(target=str(made["sft"].path), project=tmp_path).metadata["passed"]
    asked = ["red sun", "blue ice"]
    answers = [
        llmwright.predict(asked, model=made[step], project=tmp_path) for step in ("sft", "compress")
    ]
    assert answers[0] == answers[1]
    report = llmwright.evaluate(
        model=made["sft"].path, metrics=["exact_match"], split="validation", project=tmp_path
    )
    assert "exact_match" in report.metadata["metrics"]
    again = llmwright.train(
        model={"kind": "step", "name": made["sft"].id},
        adapter={"kind": "lora", "rank": 2},
        max_steps=2,
        project=tmp_path,
    )
    assert (again.path / "base.json").read_bytes() == (made["sft"].path / "base.json").read_bytes()
    with pytest.raises(LLMwrightError) as caught:
        llmwright.compress(model=made["base"], kind="merge", project=tmp_path)
    assert caught.value.code == "COMPRESS-001"
