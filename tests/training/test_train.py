"""The operation as a whole: each task learns tiny data by heart and leaves a complete artifact."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertLMHeadModel

from llmwright.core.errors import CheckError, ConfigError, InputError
from llmwright.core.events import Metric, Notice, Progress, Sample
from llmwright.inference.proof.probes import Probes
from llmwright.models.load import load_model, load_tokenizer, quiet, save_model
from llmwright.tasks.contract import Contract

FAST = {"lr": 1e-2, "batch_size": 4, "weight_decay": 0.0, "schedule": "constant"}


def record(artifact):
    return json.loads((artifact.path / "training.json").read_text())


def test_plain_text_is_learned_by_heart(bench, tiny) -> None:
    text = "the quick brown fox jumps over the lazy dog. " * 6
    dataset = bench.dataset("text-generation", "text", train=[{"text": text}])
    artifact = bench.train(
        {**FAST, "model": tiny(hidden_size=32, context=32), "max_steps": 120},
        dataset,
        bench.tokenizer([text]),
    )
    assert record(artifact)["history"][-1]["loss"] < 0.5
    contract = Contract.open(artifact.path)
    assert contract.max_length == 32
    assert not contract.begins_with_bos
    assert contract.profile["rows"] == 1


def test_short_texts_begin_with_bos_and_write_samples(bench, tiny) -> None:
    texts = ["red sun", "blue rain", "cold snow"] * 4
    rows = [{"text": text} for text in texts]
    dataset = bench.dataset("text-generation", "text", train=rows, validation=rows[:3])
    artifact = bench.train(
        {
            **FAST,
            "model": tiny(hidden_size=32, context=32),
            "max_steps": 200,
            "sample_prompts": ["red", "cold"],
            "evaluate_every_steps": 100,
        },
        dataset,
        bench.tokenizer(texts),
    )
    assert Contract.open(artifact.path).begins_with_bos
    samples = [event for event in bench.events if isinstance(event, Sample)]
    assert [(s.prompt, s.text) for s in samples[-2:]] == [("red", " sun"), ("cold", " snow")]
    progress = [event for event in bench.events if isinstance(event, Progress)]
    values = next(e.values for e in progress if e.stage == "train")
    assert set(values) == {"loss", "lr", "tokens_per_second", "memory_bytes"}
    losses = [e.value for e in bench.events if isinstance(e, Metric) and e.split == "validation"]
    assert losses


def test_pairs_are_learned_by_heart(bench, tiny) -> None:
    rows = [{"input": a, "target": b} for a, b in [("red ", "sun"), ("cold ", "snow")]] * 4
    dataset = bench.dataset("text-generation", "pair", train=rows)
    artifact = bench.train(
        {**FAST, "model": tiny(hidden_size=32), "max_steps": 120},
        dataset,
        bench.tokenizer(["red sun", "cold snow"]),
    )
    assert record(artifact)["history"][-1]["loss"] < 0.1
    answers = [probe.answer["text"] for probe in Probes.open(artifact.path).probes]
    assert answers == ["sun", "snow"]


def test_conversations_are_learned_by_heart(bench, tiny) -> None:
    def chat(question, answer):
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return {"messages": turns}

    rows = [chat("red", "sun"), chat("cold", "snow")] * 4
    dataset = bench.dataset("text-generation", "messages", train=rows)
    artifact = bench.train(
        {**FAST, "model": tiny(hidden_size=32), "max_steps": 150},
        dataset,
        bench.tokenizer(["red sun cold snow"]),
    )
    answers = [probe.answer for probe in Probes.open(artifact.path).probes]
    assert answers == [
        {"text": "sun", "finish_reason": "stop"},
        {"text": "snow", "finish_reason": "stop"},
    ]


CLASSES = [
    {"text": "red sun", "label": "warm"},
    {"text": "blue snow", "label": "cold"},
    {"text": "red day", "label": "warm"},
    {"text": "blue night", "label": "cold"},
]


@pytest.mark.parametrize("architecture", ["encoder", "recurrent", "decoder"])
def test_classifiers_learn_by_heart(bench, tiny, architecture) -> None:
    dataset = bench.dataset(
        "text-classification", "classification", train=CLASSES * 2, validation=CLASSES
    )
    artifact = bench.train(
        {**FAST, "model": tiny(architecture, dropout=0.0), "max_steps": 60},
        dataset,
        bench.tokenizer(["red sun blue snow day night"], "cls_sep", "word"),
    )
    assert artifact.metadata["best_accuracy"] == 1.0
    assert load_model(artifact.path).config.id2label == {0: "cold", 1: "warm"}
    shares = Contract.open(artifact.path).profile["label_shares"]
    assert shares == {"cold": 0.5, "warm": 0.5}


@pytest.mark.parametrize("architecture", ["encoder", "recurrent", "decoder"])
def test_the_second_text_of_a_pair_is_read(bench, tiny, architecture) -> None:
    words = ["red", "blue", "green"]
    wider = {"hidden_size": 32, "dropout": 0.0}
    rows = [{"text": a, "text_pair": b, "label": b} for a in words for b in words]
    dataset = bench.dataset("text-classification", "classification", train=rows, validation=rows)
    artifact = bench.train(
        {**FAST, "lr": 3e-3, "model": tiny(architecture, **wider), "max_steps": 100},
        dataset,
        bench.tokenizer([" ".join(words)], "cls_sep", "word"),
    )
    assert artifact.metadata["best_accuracy"] == 1.0


def test_several_labels_are_learned(bench, tiny) -> None:
    rows = [
        {"text": "red sun", "labels": ["day", "warm"]},
        {"text": "blue snow", "labels": ["cold"]},
        {"text": "red night", "labels": ["warm"]},
        {"text": "grey", "labels": []},
    ]
    dataset = bench.dataset(
        "text-classification", "classification", train=rows * 2, validation=rows
    )
    artifact = bench.train(
        {**FAST, "model": tiny("encoder", dropout=0.0), "max_steps": 120},
        dataset,
        bench.tokenizer(["red sun blue snow night grey"], "cls_sep", "word"),
    )
    assert artifact.metadata["best_accuracy"] == 1.0


def test_tags_are_learned_by_heart(bench, tiny) -> None:
    rows = [
        {"tokens": ["snow", "in", "Rome"], "tags": ["O", "O", "LOC"]},
        {"tokens": ["Ada", "in", "Oslo"], "tags": ["PER", "O", "LOC"]},
    ]
    dataset = bench.dataset("token-classification", "tags", train=rows * 4, validation=rows)
    artifact = bench.train(
        {**FAST, "model": tiny("encoder", dropout=0.0), "max_steps": 80},
        dataset,
        bench.tokenizer(["snow in Rome Ada Oslo"], "cls_sep", "word"),
    )
    assert artifact.metadata["best_accuracy"] == 1.0


def test_seq2seq_is_learned_by_heart(bench, tiny) -> None:
    rows = [{"input": "red", "target": "sun"}, {"input": "cold", "target": "snow"}]
    dataset = bench.dataset("seq2seq", "pair", train=rows * 4, validation=rows)
    artifact = bench.train(
        {**FAST, "model": tiny("seq2seq", hidden_size=32, dropout=0.0), "max_steps": 120},
        dataset,
        bench.tokenizer(["red sun cold snow"], "eos"),
    )
    answers = [probe.answer["text"] for probe in Probes.open(artifact.path).probes]
    assert answers == ["sun", "snow"]
    contract = Contract.open(artifact.path)
    config = load_model(artifact.path).config
    assert contract.special_tokens["decoder_start"] == config.decoder_start_token_id


@pytest.mark.slow
def test_vae_reconstructs(bench, tiny) -> None:
    rows = [{"text": text} for text in ("red sun", "cold snow", "blue rain")] * 4
    dataset = bench.dataset("text-generation", "text", train=rows, validation=rows[:3])
    model = tiny("vae", hidden_size=32, dropout=0.0)
    model["architecture"] = {"kind": "vae", "word_dropout": 0.3, "latent_size": 8}
    artifact = bench.train(
        {
            **FAST,
            "model": model,
            "objective": {"kind": "vae", "kl_weight": 0.1},
            "max_steps": 250,
        },
        dataset,
        bench.tokenizer([row["text"] for row in rows]),
    )
    loaded, tokenizer = load_model(artifact.path), load_tokenizer(artifact.path)
    ids = tokenizer("<bos>cold snow<eos>", add_special_tokens=False, return_tensors="pt").input_ids
    written = loaded.reconstruct(ids)
    assert tokenizer.decode(written[0], skip_special_tokens=True) == "cold snow"


def test_same_seed_same_weights(bench, tiny) -> None:
    dataset = bench.dataset("text-classification", "classification", train=CLASSES * 4)
    tokenizer = bench.tokenizer(["red sun blue snow day night"], "cls_sep", "word")
    values = {**FAST, "model": tiny("encoder"), "max_steps": 6}
    first = bench.train(values, dataset, tokenizer, "a")
    again = bench.train(values, dataset, tokenizer, "b")
    other = bench.train({**values, "seed": 43}, dataset, tokenizer, "c")
    assert first.id == again.id
    assert first.id != other.id


def test_a_finished_model_is_trained_on(bench, tiny) -> None:
    dataset = bench.dataset("text-classification", "classification", train=CLASSES * 4)
    tokenizer = bench.tokenizer(["red sun blue snow day night"], "cls_sep", "word")
    first = bench.train({**FAST, "model": tiny("encoder"), "max_steps": 4}, dataset, tokenizer, "a")
    second = bench.train(
        {**FAST, "lr": 1e-9, "model": {"kind": "hub", "name": str(first.path)}, "max_steps": 1},
        dataset,
        tokenizer,
        "b",
    )
    before = load_file(first.path / "model.safetensors")
    after = load_file(second.path / "model.safetensors")
    # A learning rate of almost nothing: it began where the first one ended.
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)


def test_long_rows_are_cut_and_said(bench, tiny) -> None:
    rows = [{"text": "red " * 30, "label": "warm"}, {"text": "blue", "label": "cold"}]
    dataset = bench.dataset("text-classification", "classification", train=rows)
    tokenizer = bench.tokenizer(["red blue"], "cls_sep", "word")
    artifact = bench.train(
        {**FAST, "model": tiny("encoder", context=16), "max_steps": 1}, dataset, tokenizer
    )
    warnings = [e.text for e in bench.events if isinstance(e, Notice) and e.level == "warning"]
    assert any("1 of 2 train rows are longer than 16 tokens" in text for text in warnings)
    assert Contract.open(artifact.path).max_length == 16


def test_a_loss_that_is_no_number_names_step_and_rows(bench, tiny) -> None:
    dataset = bench.dataset("text-classification", "classification", train=CLASSES)
    values = {**FAST, "lr": 1e38, "max_grad_norm": None, "optimizer": {"kind": "sgd"}}
    with pytest.raises(CheckError) as caught:
        bench.train(
            {**values, "model": tiny("encoder"), "max_steps": 30, "batch_size": 2},
            dataset,
            bench.tokenizer(["red sun blue snow day night"], "cls_sep", "word"),
        )
    assert caught.value.code == "TRAIN-012"
    assert "train.csv:" in caught.value.message
    assert caught.value.values["step"] >= 2


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"objective": "seq2seq"}, "TRAIN-003"),
        ({"sample_prompts": ["red"]}, "TRAIN-013"),
        ({"class_weights": {"wram": 2.0}}, "TRAIN-005"),
    ],
)
def test_what_does_not_fit_is_refused(bench, tiny, values, code) -> None:
    dataset = bench.dataset("text-classification", "classification", train=CLASSES)
    tokenizer = bench.tokenizer(["red blue"], "cls_sep", "word")
    with pytest.raises(ConfigError) as caught:
        bench.train({**values, "model": tiny("encoder"), "max_steps": 1}, dataset, tokenizer)
    assert caught.value.code == code


def test_class_weights_need_classes(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red"}])
    with pytest.raises(ConfigError) as caught:
        bench.train(
            {"class_weights": "balanced", "model": tiny(), "max_steps": 1},
            dataset,
            bench.tokenizer(["red"]),
        )
    assert caught.value.code == "TRAIN-004"


def test_vae_needs_an_autoencoder(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}])
    with pytest.raises(ConfigError) as caught:
        bench.train(
            {"objective": "vae", "model": tiny(), "max_steps": 1}, dataset, bench.tokenizer(["red"])
        )
    assert caught.value.code == "TRAIN-006"


def test_an_autoencoder_is_no_language_model(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}])
    with pytest.raises(ConfigError, match="TRAIN-019"):
        bench.train({"model": tiny("vae"), "max_steps": 1}, dataset, bench.tokenizer(["red"]))


@pytest.mark.parametrize("is_decoder", [True, False])
def test_a_model_that_sees_the_answer_is_refused(bench, is_decoder) -> None:
    tokenizer = bench.tokenizer(["red sun"])
    words = load_tokenizer(tokenizer.path)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), num_hidden_layers=1, is_decoder=is_decoder, **sizes)
    with quiet():
        save_model(BertLMHeadModel(config), bench.root / "bert")
    words.save_pretrained(bench.root / "bert")
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}])
    values = {"model": {"kind": "hub", "name": "bert"}, "max_steps": 1}
    if is_decoder:
        assert record(bench.train(values, dataset, tokenizer))["steps"] == 1
        return
    with pytest.raises(ConfigError, match="TRAIN-018.*BertLMHeadModel"):
        bench.train(values, dataset, tokenizer)


def test_no_training_rows_is_an_error(bench, tiny) -> None:
    dataset = bench.dataset("text-classification", "classification", test=CLASSES)
    with pytest.raises(InputError) as caught:
        bench.train({"model": tiny("encoder")}, dataset, bench.tokenizer(["red"]))
    assert caught.value.code == "TRAIN-001"


def test_a_label_unseen_in_training_names_its_row(bench, tiny) -> None:
    strange = [{"text": "grey", "label": "mild"}]
    dataset = bench.dataset(
        "text-classification", "classification", train=CLASSES, validation=strange
    )
    tokenizer = bench.tokenizer(["red blue grey"], "cls_sep", "word")
    with pytest.raises(InputError) as caught:
        bench.train({"model": tiny("encoder"), "max_steps": 1}, dataset, tokenizer)
    assert caught.value.code == "TASK-002"
    assert caught.value.where == "validation.csv:1"
