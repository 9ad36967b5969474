"""Freezing: exactly the named weights change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

PREFIX = "model.layers."


def changed(place: Any, artifact: Any, objective: str = "causal_lm") -> set[str]:
    before = load_file(place.model(objective).path / "model.safetensors")
    after = load_file(artifact.path / "model.safetensors")
    return {name for name in after if not torch.equal(before.get(name, torch.ones(0)), after[name])}


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        ({"last_layers": 1}, lambda name: name.startswith("model.layers.1.")),
        ({"embeddings": True}, lambda name: "embed_tokens" in name),
        ({"trainable": ["layers.0.*norm.weight"]}, lambda n: "layers.0." in n and "norm" in n),
    ],
)
def test_only_what_is_named_learns(place: Any, options: dict[str, Any], fits: Any) -> None:
    artifact = place.adapt({"kind": "freeze", **options})
    found = changed(place, artifact)
    assert found
    assert all(fits(name) for name in found), found
    assert any("weights learn" in sentence for sentence in place.said)


def test_a_new_head_learns_though_only_a_layer_is_named(place: Any) -> None:
    base = place.model("causal_lm")
    artifact = place.adapt({"kind": "freeze", "last_layers": 1}, base, "classification")
    before = load_file(base.path / "model.safetensors")
    after = load_file(artifact.path / "model.safetensors")
    stays = {n for n in after if n in before and torch.equal(before[n], after[n])}
    assert "score.weight" in after
    assert any(n.startswith("model.layers.0.") for n in stays)
    assert not any(n.startswith("model.layers.1.") for n in stays)


def test_bad_names_and_counts(place: Any, refused: Any) -> None:
    wrong = {"kind": "freeze", "trainable": ["q_pro*.weigt"]}
    assert "weight" in refused("TRAIN-101", lambda: place.adapt(wrong)).message
    many = {"kind": "freeze", "last_layers": 9}
    assert "2 layers" in refused("TRAIN-102", lambda: place.adapt(many)).message
    nothing = {"kind": "freeze", "last_layers": 0}
    refused("TRAIN-103", lambda: place.adapt(nothing))
