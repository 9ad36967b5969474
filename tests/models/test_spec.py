"""From spec to model: every architecture and task, seeds, sizes, vocabulary, labels, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, InputError
from llmwright.models.config import ARCHITECTURES, HubModel, ScratchModel, StepModel
from llmwright.models.load import load_model, save_model
from llmwright.models.measure import described_count, measure, short_count
from llmwright.models.spec import ModelRequest, build_model, match_vocabulary, max_context

PAIRS = [(n, auto) for n in ARCHITECTURES.names() for auto in ARCHITECTURES.get(n).auto_classes]


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    extra = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits


@pytest.mark.parametrize(("name", "auto"), PAIRS)
def test_saved_model_is_bit_equal(
    name: str, auto: str, make, tmp_path: Path, random_ids, labels
) -> None:
    model, ids = make(name, auto), random_ids(2, 7)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded.dtype == torch.float32
    assert torch.equal(logits(model, ids), logits(loaded, ids))
    if "Classification" in auto:
        assert loaded.config.id2label == dict(enumerate(labels))


@pytest.mark.parametrize(("name", "auto"), PAIRS)
def test_seed_decides_the_weights(name: str, auto: str, make, random_ids) -> None:
    ids = random_ids(1, 5)
    before = torch.random.get_rng_state()
    first, same, other = (logits(make(name, auto, seed=s), ids) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ARCHITECTURES.names())
def test_sizes_grow_and_are_said(name: str, tokenizer: PreTrainedTokenizerFast, labels) -> None:
    counts = []
    for size in ("tiny", "small", "base"):
        heard: list[str] = []
        spec = ScratchModel(architecture=parse(ScratchModel, {"architecture": name}).architecture)
        spec = spec.model_copy(update={"size": size})
        auto = spec.architecture.auto_classes[0]
        request = ModelRequest(auto, tokenizer, labels, notice=heard.append)
        figures = measure(build_model(spec, request))
        assert f"{figures.num_parameters:,}" in heard[-1]
        assert figures.size_bytes == 4 * figures.num_parameters
        counts.append(figures.num_parameters)
    assert counts[0] < 1_500_000
    assert counts[0] * 2 < counts[1]
    assert counts[1] * 2 < counts[2]


def test_parameter_count_is_right(make, tokenizer: PreTrainedTokenizerFast) -> None:
    model = make("recurrent", "AutoModelForCausalLM", num_layers=1)
    words = len(tokenizer)
    gru = 3 * (32 * 32 + 32 * 32 + 32 + 32)
    assert measure(model).num_parameters == words * 32 + gru + words * 32
    tied = make({"kind": "recurrent", "tie_embeddings": True}, "AutoModelForCausalLM", num_layers=1)
    assert measure(tied).num_parameters == words * 32 + gru
    assert short_count(824_960) == "0.82M"
    assert short_count(999) == "999"
    assert described_count(999) == "999"
    assert described_count(824_960) == "824,960 (0.82M)"


def test_special_tokens_reach_the_model(make, tokenizer: PreTrainedTokenizerFast) -> None:
    model = make("seq2seq", "AutoModelForSeq2SeqLM")
    for settings in (model.config, model.generation_config):
        assert settings.pad_token_id == tokenizer.pad_token_id
        assert settings.eos_token_id == tokenizer.eos_token_id
        assert settings.decoder_start_token_id == tokenizer.bos_token_id
        assert settings.forced_eos_token_id is None


def test_vocabulary_grows_with_the_tokenizer(
    make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, random_ids
) -> None:
    save_model(make("decoder", "AutoModelForCausalLM"), tmp_path)
    tokenizer.save_pretrained(tmp_path / "tok")
    longer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "tok")
    longer.add_tokens(["<new>", "<newer>"])
    old = load_model(tmp_path)
    request = ModelRequest("AutoModelForCausalLM", longer)
    model = build_model(HubModel(name=str(tmp_path)), request)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) + 2
    ids = random_ids(1, 6)
    kept = logits(model.eval(), ids)[..., : len(tokenizer)]
    torch.testing.assert_close(kept, logits(old, ids))
    assert not match_vocabulary(model, tokenizer)


def test_head_is_kept_for_the_same_labels_and_new_for_others(
    make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, random_ids, labels
) -> None:
    auto, ids = "AutoModelForSequenceClassification", random_ids(2, 6)
    save_model(make("encoder", auto), tmp_path)
    old = logits(load_model(tmp_path), ids)
    spec = HubModel(name=str(tmp_path))
    heard: list[str] = []

    def built(wanted: tuple[str, ...]) -> torch.Tensor:
        request = ModelRequest(auto, tokenizer, wanted, notice=heard.append)
        return logits(build_model(spec, request).eval(), ids)

    assert torch.equal(built(labels), old)
    assert len(heard) == 1
    assert not torch.allclose(built(tuple(reversed(labels))), old)
    assert "new output layer" in heard[1]
    other = built(("a", "b"))
    assert other.shape == (2, 2)
    assert torch.equal(other, built(("a", "b")))


def test_other_labels_renew_the_output_layer_alone(
    make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, labels
) -> None:
    auto = "AutoModelForSequenceClassification"
    kind = {"kind": "recurrent", "ngram_orders": [1], "ngram_buckets": 64, "pooling": "attention"}
    save_model(make(kind, auto), tmp_path)
    request = ModelRequest(auto, tokenizer, tuple(reversed(labels)))
    new = build_model(HubModel(name=str(tmp_path)), request).state_dict()
    old = load_model(tmp_path).state_dict()
    changed = {name for name, weight in new.items() if not torch.equal(weight, old[name])}
    # A new bias is zero, as the old one still is.
    assert changed == {"head.weight"}


def test_missing_parts_of_an_autoencoder_are_named(
    make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    auto = "AutoModelForCausalLM"
    save_model(make("vae", auto), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("to_mu.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="MODEL-013.*to_mu"):
        build_model(HubModel(name=str(tmp_path)), ModelRequest(auto, tokenizer))


def test_plain_attention_is_for_short_contexts_only(make) -> None:
    auto = "AutoModelForCausalLM"
    short, long = (make("decoder", auto, context=n).config for n in (256, 257))
    assert short._attn_implementation == "eager"
    assert long._attn_implementation == "sdpa"


def test_body_of_a_language_model_becomes_a_classifier(
    make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, labels
) -> None:
    save_model(make("encoder", "AutoModelForMaskedLM"), tmp_path)
    request = ModelRequest("AutoModelForSequenceClassification", tokenizer, labels)
    model = build_model(HubModel(name=str(tmp_path)), request)
    body = load_model(tmp_path).bert.state_dict()
    for key, value in body.items():
        assert torch.equal(model.bert.state_dict()[key], value)
    # To predict with it, the head would have to be trained first.
    with pytest.raises(InputError, match="MODEL-013"):
        load_model(tmp_path, task="AutoModelForSequenceClassification")


def test_multi_label_is_recorded(tokenizer: PreTrainedTokenizerFast, labels) -> None:
    auto = "AutoModelForSequenceClassification"
    request = ModelRequest(auto, tokenizer, labels, multi_label=True)
    model = build_model(parse(ScratchModel, {"architecture": "recurrent"}), request)
    assert model.config.problem_type == "multi_label_classification"


def test_context_grows_to_what_training_needs(tokenizer: PreTrainedTokenizerFast, labels) -> None:
    spec = parse(ScratchModel, {"architecture": "encoder"})
    auto = "AutoModelForTokenClassification"
    model = build_model(spec, ModelRequest(auto, tokenizer, labels, max_length=700))
    assert max_context(model.config) == 700
    short = spec.model_copy(update={"context": 100})
    with pytest.raises(ConfigError, match="MODEL-004"):
        build_model(short, ModelRequest(auto, tokenizer, labels, max_length=700))


@pytest.mark.parametrize(
    ("values", "auto", "code"),
    [
        ({"architecture": "seq2seq"}, "AutoModelForCausalLM", "MODEL-001"),
        ({"architecture": "encoder", "num_heads": 3}, "AutoModelForMaskedLM", "MODEL-002"),
        (
            {"architecture": {"kind": "decoder", "num_kv_heads": 3}},
            "AutoModelForCausalLM",
            "MODEL-003",
        ),
        (
            {"architecture": {"kind": "recurrent", "bidirectional": True}},
            "AutoModelForCausalLM",
            "MODEL-008",
        ),
    ],
)
def test_what_does_not_fit_is_said(
    values: dict, auto: str, code: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(ConfigError, match=code):
        build_model(parse(ScratchModel, values), ModelRequest(auto, tokenizer))


def test_step_needs_a_model(
    make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, random_ids
) -> None:
    auto, ids = "AutoModelForCausalLM", random_ids(1, 5)
    with pytest.raises(ConfigError, match="MODEL-007"):
        build_model(StepModel(), ModelRequest(auto, tokenizer))
    model = make("decoder", auto)
    save_model(model, tmp_path)
    again = build_model(StepModel(), ModelRequest(auto, tokenizer, artifact=tmp_path))
    assert again.training
    assert torch.equal(logits(again.eval(), ids), logits(model, ids))


def test_too_short_context_of_a_finished_model(
    make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    save_model(make("encoder", "AutoModelForMaskedLM", context=64), tmp_path)
    request = ModelRequest("AutoModelForMaskedLM", tokenizer, max_length=65)
    with pytest.raises(InputError, match="MODEL-016"):
        build_model(HubModel(name=str(tmp_path)), request)


@pytest.mark.slow
def test_seq2seq_learns_to_copy_unseen_texts(
    make, random_ids, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Cross attention works soon: texts it never saw come back reversed after few steps."""
    model = make("seq2seq", "AutoModelForSeq2SeqLM", hidden_size=48, num_layers=1).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, 1.0, total_iters=20)
    end = torch.full((32, 1), tokenizer.eos_token_id)
    for step in range(250):
        ids = random_ids(32, 5, seed=step)
        target = torch.cat([ids.flip(1), end], dim=1)
        loss = model(input_ids=ids, labels=target).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    fresh = random_ids(20, 5, seed=9999)
    written = model.eval().generate(fresh, max_new_tokens=8, do_sample=False)
    right = (written[:, 1:6] == fresh.flip(1)).all(dim=1).float().mean()
    assert right > 0.8
