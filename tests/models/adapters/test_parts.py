"""What a model consists of, found for each architecture."""

from __future__ import annotations

from typing import Any

import pytest

from llmwright.models.adapters import parts


@pytest.mark.parametrize(
    ("architecture", "auto_class", "stacks", "head", "linear"),
    [
        ("decoder", "AutoModelForCausalLM", [2], [], 14),
        ("decoder", "AutoModelForSequenceClassification", [2], ["score"], 14),
        ("encoder", "AutoModelForTokenClassification", [2], ["classifier"], 12),
        ("encoder", "AutoModelForMaskedLM", [2], [], 12),
        ("seq2seq", "AutoModelForSeq2SeqLM", [2, 2], [], 32),
        ("recurrent", "AutoModelForSequenceClassification", [2, 2], ["head"], 0),
    ],
)
def test_parts(
    make: Any, architecture: str, auto_class: str, stacks: list[int], head: list[str], linear: int
) -> None:
    model = make(architecture, auto_class, num_layers=2)
    assert [len(stack) for stack in parts.stacks(model)] == stacks
    assert parts.must_learn(model) == head
    assert len(parts.linear_layers_of_stacks(model)) == linear
    assert model.get_submodule(parts.embeddings(model)[0]) is model.get_input_embeddings()


def test_names_fit_whole_or_from_behind_a_dot() -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    for pattern in (name, "q_proj.*", "layers.1.*", "*", "*.weight", "weight"):
        assert parts.fits(pattern, name), pattern
    for pattern in ("proj.weight", "layers", "q_proj", "ayers.1.*"):
        assert not parts.fits(pattern, name), pattern


def test_tied_weights_are_held_by_the_embedding(make: Any) -> None:
    model = make({"kind": "decoder"}, "AutoModelForCausalLM")
    assert parts.holders(model, ["lm_head"]) == ["model.embed_tokens"]
