"""A student learns what its teacher says, not what the rows say."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmwright.core.errors import ConfigError
from llmwright.models.load import load_model, load_tokenizer
from llmwright.training.config import TrainConfig
from llmwright.training.objectives.distillation import relations_apart
from llmwright.training.train import train

FAST = {"lr": 1e-2, "batch_size": 8, "weight_decay": 0.0, "schedule": "constant"}
TEXTS = ["red sun", "blue rain", "cold snow", "hot sand"]


def labelled(labels: str) -> list[dict]:
    return [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)] * 4


def learn(bench, values, dataset, tokenizer, name, teacher=None):
    values = {"runtime": {"kind": "single", "num_threads": 1, "device": "cpu"}, **FAST, **values}
    inputs = {"dataset": dataset, "tokenizer": tokenizer}
    if teacher is not None:
        inputs["objective.teacher.name"] = teacher
    return train(TrainConfig.model_validate(values), inputs, bench.run(name))


def answers(artifact) -> list[str]:
    model, tokenizer = load_model(artifact.path), load_tokenizer(artifact.path)
    found = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        found.append(model.config.id2label[int(model(input_ids=ids).logits.argmax())])
    return found


@pytest.fixture
def taught(bench, tiny):
    """A tokenizer, and a classifier that knows abba."""
    tokenizer = bench.tokenizer(TEXTS)
    dataset = bench.dataset("text-classification", "classification", train=labelled("abba"))
    values = {"model": tiny("encoder", hidden_size=32), "max_steps": 60}
    return tokenizer, learn(bench, values, dataset, tokenizer, "teacher")


def test_a_student_believes_its_teacher_more_than_the_rows(bench, tiny, taught) -> None:
    tokenizer, teacher = taught
    assert answers(teacher) == list("abba")
    wrong = bench.dataset("text-classification", "classification", train=labelled("baab"))
    objective = {"kind": "distillation", "teacher": "step", "teacher_weight": 1.0}
    values = {"model": tiny("encoder"), "max_steps": 120, "objective": objective}
    student = learn(bench, values, wrong, tokenizer, "student", teacher)
    assert answers(student) == list("abba")
    ignored = {**values, "objective": {**objective, "teacher_weight": 0.0}}
    assert answers(learn(bench, ignored, wrong, tokenizer, "own", teacher)) == list("baab")


def test_a_teacher_without_the_same_labels_or_vocabulary_is_refused(bench, tiny, taught) -> None:
    tokenizer, teacher = taught
    other = bench.dataset("text-classification", "classification", train=labelled("abbc"))
    values = {
        "model": tiny("encoder"),
        "max_steps": 1,
        "objective": {"kind": "distillation", "teacher": "step"},
    }
    with pytest.raises(ConfigError, match="TRAIN-023.*a, b.*a, b, c"):
        learn(bench, values, other, tokenizer, "labels", teacher)
    same = bench.dataset("text-classification", "classification", train=labelled("abba"))
    with pytest.raises(ConfigError, match="TRAIN-022.*vocabulary"):
        learn(bench, values, same, bench.tokenizer([*TEXTS, "XYZ"]), "vocabulary", teacher)
    scratch = {**values, "objective": {"kind": "distillation", "teacher": tiny("encoder")}}
    with pytest.raises(ConfigError, match="TRAIN-021.*scratch"):
        learn(bench, scratch, same, tokenizer, "scratch")


def test_a_teacher_that_reads_less_is_refused(bench, tiny) -> None:
    tokenizer = bench.tokenizer(TEXTS)
    short = bench.dataset("text-classification", "classification", train=labelled("abba"))
    values = {"model": tiny("encoder", context=16), "max_steps": 1}
    teacher = learn(bench, values, short, tokenizer, "teacher")
    rows = [*labelled("abba"), {"text": "red sun " * 30, "label": "a"}]
    dataset = bench.dataset("text-classification", "classification", train=rows)
    values = {"model": tiny("encoder"), "max_steps": 1}
    values |= {"objective": {"kind": "distillation", "teacher": "step"}}
    with pytest.raises(ConfigError, match=r"TRAIN-201.*reads 16 tokens.*up to \d{3}"):
        learn(bench, values, dataset, tokenizer, "long", teacher)
    learn(bench, {**values, "max_length": 16}, dataset, tokenizer, "cut", teacher)


def test_class_weights_leave_the_teacher_its_share(bench, tiny, taught) -> None:
    tokenizer, teacher = taught
    dataset = bench.dataset("text-classification", "classification", train=labelled("abba"))
    objective = {"kind": "distillation", "teacher": "step", "teacher_weight": 1.0}
    values = {"model": tiny("encoder"), "max_steps": 2, "objective": objective}
    values |= {"batch_size": 16, "lr": 1e-9, "log_every_steps": 1}

    def loss(name: str, weights: dict[str, float]) -> float:
        made = learn(bench, {**values, "class_weights": weights}, dataset, tokenizer, name, teacher)
        return json.loads((made.path / "training.json").read_text())["history"][0]["loss"]

    # All weigh the same: as if there were no weights.
    assert loss("heavy", {"a": 20.0, "b": 20.0}) == pytest.approx(loss("plain", {}), rel=1e-5)


def test_a_writer_comes_nearer_to_its_teacher_and_its_relations(bench, tiny) -> None:
    rows = [{"text": text} for text in TEXTS * 4]
    dataset = bench.dataset("text-generation", "text", train=rows)
    tokenizer = bench.tokenizer(TEXTS)
    values = {"model": tiny(hidden_size=32), "max_steps": 80}
    teacher = learn(bench, values, dataset, tokenizer, "teacher")
    objective = {"kind": "distillation", "teacher": "step", "hidden_weight": 1.0}
    ids = torch.tensor([load_tokenizer(tokenizer.path)("red sun")["input_ids"]])
    apart = []
    for name, steps in (("early", 1), ("late", 250)):
        values = {"model": tiny(), "max_steps": steps, "objective": objective}
        student = learn(bench, values, dataset, tokenizer, name, teacher)
        apart.append(distances(load_model(student.path), load_model(teacher.path), ids))
    (early_kl, early_relations), (late_kl, late_relations) = apart
    assert late_kl < 0.5 * early_kl
    assert late_relations < 0.5 * early_relations


@torch.no_grad()
def distances(student, teacher, ids) -> tuple[float, float]:
    logits, wanted = (model(input_ids=ids).logits.log_softmax(-1) for model in (student, teacher))
    hidden = [model.base_model(input_ids=ids)[0] for model in (student, teacher)]
    kl = functional.kl_div(logits, wanted, log_target=True, reduction="sum")
    return float(kl), float(relations_apart(*hidden, torch.ones_like(ids).float())[0])


def test_relations_leave_out_what_takes_no_part() -> None:
    random = np.random.default_rng(0)
    one, other = (torch.tensor(random.normal(size=(2, 4, size))).float() for size in (3, 5))
    shared = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1]])
    changed = other.clone()
    changed[0, 2:] = 9.0
    first, second = relations_apart(one, other, shared), relations_apart(one, changed, shared)
    torch.testing.assert_close(first, second)
    assert relations_apart(one, one, shared).abs().max() < 1e-6


def test_a_teacher_begins_to_write_as_it_learned(bench, tiny) -> None:
    rows = [{"input": text, "target": text} for text in TEXTS * 2]
    dataset, tokenizer = bench.dataset("seq2seq", "pair", train=rows), bench.tokenizer(TEXTS, "eos")
    values = {"model": tiny("seq2seq", dropout=0.0), "max_steps": 20}
    teacher = learn(bench, values, dataset, tokenizer, "teacher").path
    other = bench.root / "other"
    shutil.copytree(teacher, other)
    config = json.loads((other / "config.json").read_text())
    start = load_tokenizer(teacher).convert_tokens_to_ids("r")
    (other / "config.json").write_text(json.dumps({**config, "decoder_start_token_id": start}))
    losses = []
    for folder in (teacher, other):
        objective = {"kind": "distillation", "teacher": {"kind": "hub", "name": str(folder)}}
        more = {"objective": {**objective, "teacher_weight": 1.0}, "max_steps": 1}
        made = learn(bench, {**values, **more}, dataset, tokenizer, folder.name)
        losses.append(json.loads((made.path / "training.json").read_text())["history"][0]["loss"])
    assert abs(losses[0] - losses[1]) > 1e-4
