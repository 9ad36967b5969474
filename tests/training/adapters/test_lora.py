"""LoRA: what is adapted, what goes on, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llmwright.core.artifacts import Artifact
from llmwright.core.config import parse
from llmwright.core.errors import ConfigError
from llmwright.inference.predictor import Predictor
from llmwright.models import load
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import CHATML, Framing
from llmwright.training.config import TrainConfig


def config_of(artifact: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((artifact.path / "adapter_config.json").read_text())
    return found


@pytest.fixture(scope="module")
def first(place: Any) -> Artifact:
    found: Artifact = place.adapt({"kind": "lora", "rank": 2})
    return found


def test_automatic_targets_are_all_linear_layers_of_the_blocks(place: Any, first: Any) -> None:
    assert len(config_of(first)["target_modules"]) == 14
    assert config_of(first)["modules_to_save"] is None
    said = " ".join(place.said)
    assert "rank 2 in 14 linear layers: down_proj, gate_proj" in said
    assert "weights learn (" in said


def test_named_targets_only(place: Any) -> None:
    found = place.adapt({"kind": "lora", "rank": 2, "targets": ["q_proj", "layers.0.*.v_proj"]})
    assert config_of(found)["target_modules"] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.v_proj",
        "model.layers.1.self_attn.q_proj",
    ]


def test_the_folder_is_the_adapter_and_its_base(place: Any, first: Any) -> None:
    base = json.loads((first.path / "base.json").read_text())
    assert base["kind"] == "artifact"
    assert base["name"] == place.model().id
    assert not list(first.path.glob("model*.safetensors"))
    predictor = Predictor.open(first.path)
    assert list(predictor.predict([predictor.read("sun")]))[0]["finish_reason"]


# PEFT's own wrapper asks a model by a name that transformers has given up.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_opens_it_and_answers_alike(place: Any, first: Any) -> None:
    from peft import PeftModel

    ids_BT = torch.arange(12).reshape(2, 6)
    theirs = PeftModel.from_pretrained(load.load_model(place.model().path), first.path).eval()
    ours = load.load_model(first.path)
    with torch.no_grad():
        assert torch.equal(theirs(input_ids=ids_BT).logits, ours(input_ids=ids_BT).logits)


def test_it_goes_on_with_the_adapter_it_has(place: Any, first: Any) -> None:
    again = place.adapt({"kind": "lora", "rank": 2, "dropout": 0.1}, first)
    assert any("learns further" in sentence for sentence in place.said)
    assert json.loads((again.path / "base.json").read_text())["name"] == place.model().id
    before, after = (load_file(a.path / "adapter_model.safetensors") for a in (first, again))
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_another_adapter_on_an_adapter_is_refused(place: Any, first: Any, refused: Any) -> None:
    error = refused("TRAIN-105", lambda: place.adapt({"kind": "lora", "rank": 4}, first))
    assert "rank: 2" in error.message
    assert "rank: 4" in error.message
    refused("TRAIN-105", lambda: place.adapt({"kind": "prompt_tuning"}, first))
    begun = {"kind": "lora", "rank": 2, "init": "pissa"}
    refused("TRAIN-105", lambda: place.adapt(begun, first))


@pytest.mark.slow
def test_a_full_training_of_an_adapter_makes_a_whole_model(place: Any, first: Any) -> None:
    whole = place.adapt("full", first)
    assert (whole.path / "model.safetensors").is_file()
    assert not (whole.path / "base.json").exists()
    assert any("merged to train a whole model" in sentence for sentence in place.said)


def test_a_new_head_is_trained_and_saved_with_the_adapter(place: Any) -> None:
    found = place.adapt({"kind": "lora", "rank": 2}, place.model("causal_lm"), "classification")
    assert config_of(found)["modules_to_save"] == ["score"]
    model = load.load_model(found.path)
    saved = load_file(found.path / "adapter_model.safetensors")
    assert torch.equal(model.score.weight, saved["base_model.model.score.weight"])
    predictor = Predictor.open(found.path)
    assert list(predictor.predict([predictor.read("sun")]))[0]["label"] in ("cold", "rain", "sun")


def test_a_grown_vocabulary_is_trained_and_saved_with_the_adapter(place: Any) -> None:
    base = place.model()
    config = TokenizeConfig(kind="char")
    texts = ["rain today a cold wind sun 今天天气很好 user assistant system", "XYZÄÖÜ"]
    made = TOKENIZERS.get("char")(config, texts, Framing(frame="none", chat_template=CHATML))
    with place.store.draft("tokenizer") as draft:
        made.save_pretrained(draft.path)
    found = place.adapt({"kind": "lora", "rank": 2}, base, tokenizer=draft.artifact)
    assert config_of(found)["modules_to_save"] == ["model.embed_tokens"]
    model = load.load_model(found.path)
    assert model.get_input_embeddings().weight.shape[0] == len(made)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    saved = load_file(found.path / "adapter_model.safetensors")
    embedding = saved["base_model.model.model.embed_tokens.weight"]
    assert torch.equal(model.get_input_embeddings().weight, embedding)


def test_targets_that_fit_nothing(place: Any, refused: Any) -> None:
    wrong = {"kind": "lora", "targets": ["q_pro"]}
    assert 'Did you mean "q_proj"' in refused("TRAIN-101", lambda: place.adapt(wrong)).message
    wrong = {"kind": "lora", "modules_to_save": ["lm_haed"]}
    assert 'Did you mean "lm_head"' in refused("TRAIN-101", lambda: place.adapt(wrong)).message
    tied = {"kind": "lora", "targets": ["lm_head"]}
    assert "token embedding" in refused("TRAIN-104", lambda: place.adapt(tied)).message


@pytest.mark.slow
def test_a_recurrent_model_has_nothing_to_adapt(place: Any, refused: Any) -> None:
    model = {"kind": "scratch", "architecture": "recurrent", "hidden_size": 16}
    recurrent = place.adapt("full", spec=model)
    error = refused("TRAIN-104", lambda: place.adapt("lora", recurrent))
    assert "no linear layers" in error.message


def test_an_adapter_on_random_weights_is_refused(place: Any, refused: Any) -> None:
    for kind in ("lora", "prompt_tuning", "prefix_tuning"):
        error = refused("TRAIN-100", lambda kind=kind: place.adapt(kind, spec={"kind": "scratch"}))
        assert "adapter to full" in error.fix


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(TrainConfig, {"adapter": {"kind": "lora", "rnak": 4}}, "train")
    assert caught.value.code == "CORE-040"


def test_a_base_that_changed_or_is_gone(place: Any, refused: Any, tmp_path: Path) -> None:
    base = shutil.copytree(place.model().path, tmp_path / "base")
    first = place.adapt("lora", spec={"kind": "hub", "name": str(base)})
    assert json.loads((first.path / "base.json").read_text())["kind"] == "folder"
    weights = base / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(bytes(content))
    error = refused("MODEL-052", lambda: load.load_model(first.path))
    assert str(base) in error.message
    shutil.rmtree(base)
    refused("MODEL-051", lambda: load.load_model(first.path))
