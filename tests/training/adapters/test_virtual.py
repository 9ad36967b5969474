"""Prompt and prefix tuning: beginnings, limits, and what they do not go with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llmwright.inference.predictor import Predictor
from llmwright.models import load
from llmwright.tasks.contract import Contract
from llmwright.training.acceleration.parts import choose_packing, use_checkpointing
from llmwright.training.adapters.adapter import AdapterRequest, base_of
from llmwright.training.adapters.config import ADAPTERS
from llmwright.training.adapters.virtual import first_ids

KINDS = ("prompt_tuning", "prefix_tuning")


def request(place: Any, **values: Any) -> AdapterRequest:
    artifact = place.model()
    given: dict[str, Any] = {
        "model": load.load_model(artifact.path),
        "tokenizer": load.load_tokenizer(artifact.path),
        "contract": Contract.open(artifact.path),
        "objective": "causal_lm",
        "spec": None,
        "base": lambda: base_of(None, {"model.name": artifact}, place.root),
        "seed": 1,
        "notice": lambda sentence: None,
    }
    return AdapterRequest(**{**given, **values})


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_begin_as_the_text_that_is_given(place: Any, kind: str) -> None:
    """The model answers as if the text stood before each row, to the last digits."""
    asked = request(place)
    adapter = ADAPTERS.get(kind)(kind=kind, num_virtual_tokens=8, init_text="sun")
    ids_P = first_ids(adapter, asked)
    assert asked.tokenizer.decode(ids_P).replace(" ", "") == "sunsunsu"
    plain = load.load_model(place.model().path)
    model = adapter.build(asked).eval()
    ids_BT = torch.arange(6, 16).reshape(2, 5)
    before_BT = torch.cat([ids_P.expand(2, -1), ids_BT], dim=1)
    with torch.no_grad():
        expected = plain(input_ids=before_BT).logits[:, 8:]
        assert torch.allclose(model(input_ids=ids_BT).logits, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_writes_after_padding_on_the_left_as_alone(place: Any, kind: str) -> None:
    found = place.adapt({"kind": kind, "num_virtual_tokens": 3})
    assert set(load_file(found.path / "adapter_model.safetensors")) == {"prompt_embeddings"}
    predictor = Predictor.open(found.path)
    rows = [predictor.read(text) for text in ("sun", "a cold wind", "rain today")]
    together = list(predictor.predict(rows, max_new_tokens=8))
    assert together == [next(iter(predictor.predict([row], max_new_tokens=8))) for row in rows]


@pytest.mark.slow
def test_it_goes_on_with_the_tokens_it_has(place: Any, refused: Any) -> None:
    first = place.adapt({"kind": "prompt_tuning", "num_virtual_tokens": 3})
    again = place.adapt({"kind": "prompt_tuning", "num_virtual_tokens": 3}, first)
    one, two = (load_file(a.path / "adapter_model.safetensors") for a in (first, again))
    assert (one["prompt_embeddings"] - two["prompt_embeddings"]).abs().max() < 0.1
    other = {"kind": "prefix_tuning", "num_virtual_tokens": 3}
    refused("TRAIN-105", lambda: place.adapt(other, first))


@pytest.mark.slow
def test_they_take_places_of_the_context(place: Any, refused: Any) -> None:
    context = load.load_config(place.model().path).max_position_embeddings
    found = place.adapt({"kind": "prompt_tuning", "num_virtual_tokens": context - 40})
    assert Contract.open(found.path).max_length == 40
    assert Predictor.open(found.path).engine.context == 40
    many = {"kind": "prefix_tuning", "num_virtual_tokens": context}
    refused("TRAIN-110", lambda: place.adapt(many))


def test_joined_rows_and_recomputed_activations(place: Any, refused: Any) -> None:
    model = ADAPTERS.get("prefix_tuning")(num_virtual_tokens=2).build(request(place))
    cpu, said = torch.device("cpu"), []
    assert choose_packing("auto", "causal_lm", model, cpu, said.append) is False
    refused("TRAIN-031", lambda: choose_packing(True, "causal_lm", model, cpu, said.append))
    refused("TRAIN-111", lambda: use_checkpointing(model))


def test_a_model_that_does_not_write_cannot_have_them(place: Any, refused: Any) -> None:
    base = place.model("classification")
    for kind in KINDS:
        refused("MODEL-054", lambda kind=kind: place.adapt(kind, base, "classification"))


def test_an_unreadable_text(place: Any, refused: Any) -> None:
    adapter = ADAPTERS.get("prompt_tuning")(init_text="\u200b")
    asked = request(place, tokenizer=lambda text, **_: {"input_ids": []})
    refused("TRAIN-108", lambda: first_ids(adapter, asked))
