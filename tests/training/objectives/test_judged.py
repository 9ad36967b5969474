"""Judged answers: each loss against its formula, and its effect on a model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from llmwright.core.errors import ConfigError, ResourceError, StoppedError
from llmwright.evaluation.asking import Asked, Asking
from llmwright.inference.predictor import Predictor
from llmwright.models.load import load_model, load_tokenizer
from llmwright.tasks.contract import Contract
from llmwright.tasks.preference import Flags, Pairs
from llmwright.tasks.task import IGNORE
from llmwright.training import setup
from llmwright.training.config import TrainConfig
from llmwright.training.objectives.config import OBJECTIVES
from llmwright.training.objectives.objective import ObjectiveRequest
from llmwright.training.train import make_trainee, prepare_objective, set_seed

TEXTS = ["hi", "good day", "go away", "bye", "so long", "get lost"]
PAIRS = [
    {"prompt": [{"role": "user", "content": "hi"}], "chosen": "good day", "rejected": "go away"},
    {"prompt": [{"role": "user", "content": "bye"}], "chosen": "so long", "rejected": "get lost"},
] * 4
FLAGS = [
    {"prompt": row["prompt"], "completion": row[name], "flag": name == "chosen"}
    for row in PAIRS
    for name in ("chosen", "rejected")
]
CPU = {"kind": "single", "device": "cpu", "num_threads": 1}
FAST = {"lr": 3e-3, "batch_size": 4, "weight_decay": 0.0, "schedule": "constant"}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def losses_of(bench):
    """Return a function that gives an objective's losses for given log-probabilities."""

    def losses(name, log_probs, counts, reference, **values):
        tokenizer = load_tokenizer(bench.tokenizer(TEXTS).path)
        model = small_model(tokenizer)
        contract = contract_of(tokenizer)
        kind = OBJECTIVES.get(name).model_validate(values)
        objective = kind.build(ObjectiveRequest(model, contract))
        tensors = {"reference": torch.tensor(reference, dtype=torch.float32)}
        return objective.pair_losses(torch.tensor(log_probs), torch.tensor(counts), tensors)

    return losses


def small_model(tokenizer):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def contract_of(tokenizer, max_length: int = 128) -> Contract:
    return Contract(
        task="text-generation",
        row_type="messages",
        model_type="llama",
        num_parameters=1,
        fields={},
        max_length=max_length,
        special_tokens={"pad": tokenizer.pad_token_id},
    )


# Two pairs: chosen, chosen, rejected, rejected.
LOG_PROBS, COUNTS = [-2.0, -6.0, -4.0, -3.0], [2.0, 3.0, 4.0, 1.0]
REFERENCE = [[-3.0, -3.5], [-5.0, -4.0]]
GAINS = np.array([[1.0, -0.5], [-1.0, 1.0]])
MEANS = np.array([[-1.0, -1.0], [-2.0, -3.0]])


def test_dpo_is_its_formula(losses_of) -> None:
    losses, margins = losses_of("dpo", LOG_PROBS, COUNTS, REFERENCE, beta=0.2)
    expected = 0.2 * (GAINS[:, 0] - GAINS[:, 1])
    np.testing.assert_allclose(margins, expected, rtol=1e-6)
    np.testing.assert_allclose(losses, -np.log(sigmoid(expected)), rtol=1e-6)
    smoothed, _ = losses_of(
        "dpo", LOG_PROBS, COUNTS, REFERENCE, beta=0.2, smoothing=0.1, sft_weight=0.5
    )
    wanted = -0.9 * np.log(sigmoid(expected)) - 0.1 * np.log(sigmoid(-expected))
    np.testing.assert_allclose(smoothed, wanted - 0.5 * MEANS[:, 0], rtol=1e-6)


def test_ipo_is_its_formula(losses_of) -> None:
    losses, margins = losses_of("ipo", LOG_PROBS, COUNTS, REFERENCE, beta=0.5)
    expected = GAINS[:, 0] / [2, 3] - GAINS[:, 1] / [4, 1]
    np.testing.assert_allclose(margins, expected, rtol=1e-6)
    np.testing.assert_allclose(losses, (expected - 1.0) ** 2, rtol=1e-6)


def test_orpo_is_its_formula(losses_of) -> None:
    losses, margins = losses_of("orpo", LOG_PROBS, COUNTS, REFERENCE, beta=0.3)
    p = np.exp(MEANS)
    expected = np.log(p / (1 - p))[:, 0] - np.log(p / (1 - p))[:, 1]
    np.testing.assert_allclose(margins, expected, rtol=1e-5)
    np.testing.assert_allclose(losses, -MEANS[:, 0] - 0.3 * np.log(sigmoid(expected)), rtol=1e-5)


def test_simpo_is_its_formula(losses_of) -> None:
    losses, margins = losses_of("simpo", LOG_PROBS, COUNTS, REFERENCE, beta=2.0, margin=0.5)
    expected = 2.0 * (MEANS[:, 0] - MEANS[:, 1])
    np.testing.assert_allclose(margins, expected, rtol=1e-6)
    np.testing.assert_allclose(losses, -np.log(sigmoid(expected - 0.5)), rtol=1e-6)


def test_pairs_have_labels_on_the_judged_answers_alone(bench) -> None:
    tokenizer = load_tokenizer(bench.tokenizer(TEXTS).path)
    row = {
        "prompt": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "bye"},
            {"role": "user", "content": "hi"},
        ],
        "chosen": "good day",
        "rejected": "go away",
    }
    encoding, contract = Pairs(), contract_of(tokenizer)
    example = encoding.encode(row, tokenizer, contract)
    batch = encoding.collate([example, example], contract)
    learned = [tokenizer.decode(labels[labels != IGNORE]) for labels in batch["labels"]]
    stop = tokenizer.decode([batch["labels"][0][batch["labels"][0] != IGNORE][-1]])
    assert learned == [f"good day{stop}"] * 2 + [f"go away{stop}"] * 2
    assert batch["input_ids"].shape[1] * 4 == sum(encoding.widths(example, contract)) * 2


def test_what_is_too_long_keeps_the_end_of_its_prompt_and_some_of_its_answer(bench) -> None:
    tokenizer = load_tokenizer(bench.tokenizer(TEXTS).path)
    long_prompt = {"prompt": [{"role": "user", "content": "bye " * 30}]}
    row = {**long_prompt, "chosen": "good day", "rejected": "go away " * 30}
    example = Pairs().encode(row, tokenizer, contract_of(tokenizer, 60))
    assert example.truncated
    learned = tokenizer.decode(example.labels[example.labels != IGNORE], skip_special_tokens=True)
    assert learned == "good day"
    second = example.extras["second_labels"]
    assert len(second) == len(example.labels) == 60
    assert (second != IGNORE).sum() == 30


def test_flags_bring_the_answer_of_the_next_row(bench) -> None:
    tokenizer = load_tokenizer(bench.tokenizer(TEXTS).path)
    encoding, contract = Flags(), contract_of(tokenizer)
    rows = [
        {"prompt": [{"role": "user", "content": q}], "completion": a, "flag": f}
        for q, a, f in [("hi", "good day", True), ("bye", "get lost", False)]
    ]
    examples = [encoding.encode(row, tokenizer, contract) for row in rows]
    batch = encoding.collate(encoding.finish(examples, contract), contract)
    texts = tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert [text.split()[-1] for text in texts] == ["day", "lost", "lost", "day"]
    assert "hi" in texts[2]
    assert "bye" in texts[3]
    assert batch["flag"].tolist() == [1, 0]


def test_flags_bring_no_answer_to_their_own_prompt(bench) -> None:
    tokenizer = load_tokenizer(bench.tokenizer(TEXTS).path)
    encoding, contract = Flags(), contract_of(tokenizer)
    # Half a split away stands the same prompt again.
    finished = encoding.finish([encoding.encode(r, tokenizer, contract) for r in FLAGS], contract)
    assert len(finished) == len(FLAGS)
    own = {"hi": {"good day", "go away"}, "bye": {"so long", "get lost"}}
    for row, example in zip(FLAGS, finished, strict=True):
        labels = example.extras["second_labels"]
        answer = tokenizer.decode(labels[labels != IGNORE], skip_special_tokens=True)
        assert answer.strip() not in own[row["prompt"][0]["content"]]
    first = encoding.collate(finished[:2], contract)["input_ids"]
    assert (first == encoding.collate([finished[0], finished[1]], contract)["input_ids"]).all()


@pytest.mark.parametrize("name", ["dpo", "ipo", "orpo", "simpo", "kto"])
def test_the_good_answer_becomes_likelier_than_the_bad_one(name, bench, tiny) -> None:
    kind, rows = ("flag", FLAGS) if name == "kto" else ("preference", PAIRS)
    dataset = bench.dataset("text-generation", kind, train=rows, validation=rows[:4])
    artifact = bench.train(
        {**FAST, "model": tiny(hidden_size=32), "max_steps": 60, "objective": name},
        dataset,
        bench.tokenizer(TEXTS),
    )
    history = json.loads((artifact.path / "training.json").read_text())
    first, last = history["evaluations"][0], history["evaluations"][-1]
    assert last["loss"] < first["loss"]
    assert last["accuracy"] == 1.0
    if name == "dpo":
        assert history["history"][0]["loss"] < math.log(2)
    tokenizer, model = load_tokenizer(artifact.path), load_model(artifact.path)
    example = Pairs().encode(PAIRS[0], tokenizer, Contract.open(artifact.path))
    good = log_prob(model, example.input_ids_T, example.labels)
    bad = log_prob(model, example.extras["second_ids"], example.extras["second_labels"])
    assert good > bad
    assert Contract.open(artifact.path).row_type == "messages"


def test_long_answers_are_compared_as_they_were_learned(bench, tiny) -> None:
    long = [{"role": "user", "content": "bye so long " * 12}]
    rows = [{"prompt": long, "chosen": "good day", "rejected": "go away " * 12}, *PAIRS]
    dataset = bench.dataset("text-generation", "preference", train=rows)
    values = {**FAST, "model": tiny(), "max_steps": 2, "objective": "simpo", "max_length": 60}
    artifact = bench.train(values, dataset, bench.tokenizer(TEXTS))
    predictor = Predictor.open(artifact.path)
    asking = Asking(predictor)
    found = asking.preferences([Asked(row, "chosen") for row in rows[:2]])
    assert not asking.unscored
    assert [one.truncated for one in found] == [True, False]
    model = load_model(artifact.path)
    for row, one in zip(rows, found, strict=False):
        example = Pairs().encode(row, predictor.tokenizer, predictor.contract)
        second = example.extras["second_ids"], example.extras["second_labels"]
        texts = [(example.input_ids_T, example.labels), second]
        sums = [log_prob(model, *each) * (each[1][1:] != IGNORE).sum() for each in texts]
        assert one.rival_scores == pytest.approx(sums, rel=1e-4)


def log_prob(model, ids_T, labels_T) -> float:
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(ids_T)[None]).logits[0, :-1].log_softmax(-1)
    targets = torch.from_numpy(labels_T[1:])
    kept = targets != IGNORE
    return float(logits[kept].gather(1, targets[kept][:, None]).mean())


def test_rows_that_an_objective_cannot_learn_from_are_refused(bench, tiny) -> None:
    rows = [{"text": "hi bye"}] * 4
    dataset = bench.dataset("text-generation", "text", train=rows)
    values = {**FAST, "model": tiny(), "max_steps": 1, "objective": "dpo"}
    with pytest.raises(ConfigError, match="TRAIN-020.*preference.*text"):
        bench.train(values, dataset, bench.tokenizer(TEXTS))
    pairs = bench.dataset("text-generation", "preference", train=PAIRS)
    with pytest.raises(ConfigError, match="TRAIN-020"):
        bench.train({**values, "objective": "causal_lm"}, pairs, bench.tokenizer(TEXTS))


@pytest.mark.parametrize("name", ["causal_lm", "orpo"])
def test_logits_in_parts_give_the_same_losses_and_gradients(name, bench, monkeypatch) -> None:
    from llmwright.training.objectives import headed

    tokenizer = load_tokenizer(bench.tokenizer(TEXTS).path)
    model, contract = small_model(tokenizer), contract_of(tokenizer)
    objective = OBJECTIVES.get(name)().build(ObjectiveRequest(model, contract))
    encoding = Pairs()
    batch = encoding.collate([encoding.encode(r, tokenizer, contract) for r in PAIRS], contract)
    tensors = {n: torch.from_numpy(a) for n, a in objective.arrays(batch).items()}

    def outcome():
        model.zero_grad()
        losses = objective.losses(model, tensors, 0.0)
        losses.sum().backward()
        score = objective.score(model, tensors)
        gradients = [weight.grad.clone() for weight in model.parameters()]
        return [losses.detach(), *score, *gradients]

    whole = outcome()
    monkeypatch.setattr(headed, "LARGEST_LOGITS", 0)
    monkeypatch.setattr(headed, "PART_LOGITS", 5 * len(tokenizer))
    for found, expected in zip(outcome(), whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_first_loss_of_a_model_with_dropout_is_that_of_no_gain(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "preference", train=PAIRS)
    values = {**FAST, "model": tiny(dropout=0.5, num_layers=2), "lr": 1e-9, "max_steps": 1}
    artifact = bench.train({**values, "objective": "dpo"}, dataset, bench.tokenizer(TEXTS))
    [entry] = json.loads((artifact.path / "training.json").read_text())["history"]
    assert entry["loss"] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize(
    ("flags", "said"),
    [([1, 0, 1, 0], ""), ([1, 1, 1, 0], "good_weight: 0.333 "), ([1, 1], "2 good, 0 bad")],
)
def test_good_and_bad_answers_that_weigh_otherwise_are_said(flags, said) -> None:
    rows = [{"flag": bool(flag)} for flag in flags]
    found = OBJECTIVES.get("kto")().warning(rows)
    assert said in found
    assert bool(found) == bool(said)
    assert not OBJECTIVES.get("kto")(good_weight=1 / 3).warning([{"flag": f} for f in [1, 1, 1, 0]])


@pytest.fixture
def kto(bench, tiny):
    """Return a function that learns from eight flags by KTO and returns the record."""
    # Answers of all lengths, so that the mean of few of them is another one.
    rows = [{**row, "completion": "good " * i + row["completion"]} for i, row in enumerate(FLAGS)]
    dataset = bench.dataset("text-generation", "flag", train=rows[:8], validation=rows)
    values = {**FAST, "model": tiny(hidden_size=32), "objective": "kto", "log_every_steps": 1}
    values |= {"max_steps": 8, "precision": "float32", "evaluate_every_steps": 4}

    def learn(name: str, **more):
        artifact = bench.train({**values, **more}, dataset, bench.tokenizer(TEXTS), name)
        return json.loads((artifact.path / "training.json").read_text())

    return learn


def test_the_reference_point_of_kto_is_that_of_the_whole_step(kto) -> None:
    whole, cut = kto("whole", batch_size=8), kto("cut", batch_size=2, accumulate=4)
    losses, expected = ([each["loss"] for each in made["history"]] for made in (cut, whole))
    assert len(set(expected)) == len(expected) == 8
    assert losses == pytest.approx(expected, rel=1e-4)
    # The validation split is cut otherwise, too.
    for one, two in zip(cut["evaluations"], whole["evaluations"], strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_the_reference_is_read_in_parts_that_fit_and_can_be_stopped(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "preference", train=PAIRS)
    values = {"model": tiny(), "objective": {"kind": "dpo"}, "batch_size": 8}
    config = TrainConfig.model_validate({**values, "precision": "float32", "runtime": CPU})
    inputs, run = {"dataset": dataset, "tokenizer": bench.tokenizer(TEXTS)}, bench.run()
    problem = setup.define(config, inputs, run)
    material = setup.prepare(config, problem, inputs, run)

    failed = []

    def reference(most: int | None = None, max_tokens: int | None = None):
        set_seed(0)
        trainee = make_trainee(config, problem, material, config.runtime.build(), run)

        def fail(module, arguments, output):
            if most is not None and len(output[0]) > most:
                failed.append(len(output[0]))
                raise torch.OutOfMemoryError("CUDA out of memory")

        hook = trainee.model.base_model.register_forward_hook(fail)
        try:
            prepare_objective(trainee, None, run, max_tokens)
        finally:
            hook.remove()
        return trainee.batches.collate(np.arange(8), 0)["reference"]

    whole = reference()
    assert (whole < 0).all()
    # Each row is two texts.
    assert reference(most=4) == pytest.approx(whole, abs=1e-5)
    assert failed == [16, 8]
    assert reference(most=4, max_tokens=1) == pytest.approx(whole, abs=1e-5)
    assert failed == [16, 8]
    with pytest.raises(ResourceError, match="TRAIN-130"):
        reference(most=1)
    run._stop.set()
    with pytest.raises(StoppedError):
        reference()
