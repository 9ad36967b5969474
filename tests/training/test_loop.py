"""The loop: gradients, seeds, the golden curve, and the plain PyTorch twins."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from llmwright.models.load import load_tokenizer
from llmwright.training import setup
from llmwright.training import train as training
from llmwright.training.config import TrainConfig
from llmwright.training.loop import fit
from llmwright.training.state import State

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "loss_curves.json"

TEXT = "to be, or not to be, that is the question: whether 'tis nobler in the mind to suffer\n" * 8
ROWS = [
    {"text": " ".join(["red" if i % 2 else "blue", *["sun"] * (i % 7)]), "label": "ab"[i % 2]}
    for i in range(24)
]
QUESTIONS = [
    {"input": "red sun " * (i % 4 + 1), "target": "snow " * (i % 3 + 1)} for i in range(16)
]
JUDGED = [
    {"prompt": [{"role": "user", "content": q}], "chosen": f"gladly {q}", "rejected": "no idea"}
    for q in ("red", "blue rain", "snow", "sun and snow")
]
CPU = {"kind": "single", "device": "cpu", "num_threads": 1}


class Bench:
    """Everything `fit` needs, made as `train` makes it."""

    def __init__(self, bench, values, dataset, tokenizer) -> None:
        config = TrainConfig.model_validate({"runtime": CPU, "precision": "float32", **values})
        inputs, run = {"dataset": dataset, "tokenizer": tokenizer}, bench.run()
        problem = setup.define(config, inputs, run)
        runtime = config.runtime.build()
        self.material = setup.prepare(config, problem, inputs, run)
        self.trainee = training.make_trainee(config, problem, self.material, runtime, run)
        training.prepare_objective(self.trainee, None, run)
        training.set_seed(config.seed)

    def losses(self) -> list[float]:
        return [float(result.loss) for result in fit(self.trainee, State())]


@pytest.fixture
def causal(bench, tiny):
    dataset = bench.dataset("text-generation", "text", train=[{"text": TEXT}])
    tokenizer = bench.tokenizer([TEXT])
    model = tiny(hidden_size=32, context=16)

    def make(**values):
        defaults = {"model": model, "lr": 3e-3, "batch_size": 8, "max_steps": 12}
        return Bench(bench, {**defaults, **values}, dataset, tokenizer)

    return make


@pytest.fixture
def classifier(bench, tiny):
    dataset = bench.dataset("text-classification", "classification", train=ROWS)
    tokenizer = bench.tokenizer(["red blue sun"], "cls_sep", "word")

    def make(dropout=0.0, **values):
        defaults = {
            "model": tiny("encoder", dropout=dropout),
            "lr": 3e-3,
            "batch_size": 8,
            "max_steps": 12,
        }
        return Bench(bench, {**defaults, **values}, dataset, tokenizer)

    return make


@pytest.fixture
def pairs(bench, tiny):
    dataset = bench.dataset("seq2seq", "pair", train=QUESTIONS)
    tokenizer = bench.tokenizer(["red sun snow"], "eos")

    def make(**values):
        defaults = {"model": tiny("seq2seq", dropout=0.0), "batch_size": 8, "max_steps": 4}
        return Bench(bench, {**defaults, **values}, dataset, tokenizer)

    return make


def twin(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / "loops" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_causal_twin_reaches_the_same_losses(causal) -> None:
    plain, ours = causal(), causal()
    stream = np.concatenate([e.input_ids_T for e in plain.material.train.examples])
    expected = twin("language_model").train(
        plain.material.model, stream, length=16, batch_size=8, num_steps=12, lr=3e-3, seed=42
    )
    assert ours.losses() == pytest.approx(expected, rel=1e-5)


def test_classification_twin_reaches_the_same_losses(classifier) -> None:
    plain, ours = classifier(), classifier()
    examples = plain.material.train.examples
    expected = twin("classification").train(
        plain.material.model,
        [example.input_ids_T for example in examples],
        np.array([example.labels for example in examples]),
        batch_size=8,
        num_steps=12,
        lr=3e-3,
        seed=42,
    )
    assert ours.losses() == pytest.approx(expected, rel=1e-5)


def test_dpo_twin_reaches_the_same_losses(bench, tiny, monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples" / "loops")
    dataset = bench.dataset("text-generation", "preference", train=JUDGED)
    tokenizer = bench.tokenizer(["gladly no idea red blue rain snow sun and"])
    # All rows in each batch, so that their order says nothing.
    values = {"model": tiny(), "lr": 3e-3, "batch_size": len(JUDGED), "max_steps": 12}
    values |= {"objective": {"kind": "dpo", "beta": 0.2}}
    plain, ours = (Bench(bench, values, dataset, tokenizer) for _ in range(2))
    chosen, rejected = [], []
    for example in plain.material.train.examples:
        chosen.append(parts(example.input_ids_T, example.labels))
        extras = example.extras
        rejected.append(parts(extras["second_ids"], extras["second_labels"]))
    expected = twin("dpo").prefer(
        plain.material.model, chosen, rejected, num_steps=12, lr=3e-3, beta=0.2
    )
    assert ours.losses() == pytest.approx(expected, rel=1e-4)
    assert expected[-1] < 0.7 * expected[0]


def parts(ids_T: np.ndarray, labels_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return prompt and answer of a judged text."""
    answer = np.flatnonzero(labels_T >= 0)
    return ids_T[: answer[0]], ids_T[answer]


def gradients(bench: Bench) -> list[torch.Tensor]:
    """Return the gradients of the first step, before anything is changed."""
    found: list[torch.Tensor] = []
    optimizer = bench.trainee.optimizer

    def note(*_: object) -> None:
        weights = [w for group in optimizer.param_groups for w in group["params"]]
        found.extend(w.grad.clone() for w in weights if w.grad is not None)

    handle = optimizer.register_step_pre_hook(note)
    next(fit(bench.trainee, State()))
    handle.remove()
    return found


def test_accumulated_batches_give_the_gradient_of_one_large_batch(pairs) -> None:
    # Rows have targets of different lengths: a mean of means would be another gradient.
    large = gradients(pairs(batch_size=16, max_grad_norm=None))
    small = gradients(pairs(batch_size=2, accumulate=8, max_grad_norm=None))
    for a, b in zip(large, small, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert max(float(g.abs().max()) for g in large) > 1e-3


def test_clipping_shortens_the_gradient(classifier) -> None:
    bench = classifier(max_grad_norm=1e-4)
    found = gradients(bench)
    norm = torch.stack([g.norm() for g in found]).norm()
    assert float(norm) == pytest.approx(1e-4, rel=1e-2)


def test_golden_curves(causal, classifier, pairs) -> None:
    """The first losses stay what they were; delete the file to record new ones on purpose."""
    curves = {
        "causal_lm": causal().losses(),
        "classification": classifier(dropout=0.2).losses(),
        "seq2seq": pairs().losses(),
    }
    if not GOLDEN.exists():
        rounded = {name: [round(x, 6) for x in curve] for name, curve in curves.items()}
        GOLDEN.write_text(json.dumps(rounded, indent=1) + "\n")
    expected = json.loads(GOLDEN.read_text())
    for name, curve in curves.items():
        assert curve == pytest.approx(expected[name], abs=2e-4), name


def test_bf16_learns_like_float32(causal) -> None:
    exact = causal(max_steps=30).losses()
    rough = causal(max_steps=30, precision="bf16") if _able() else causal(max_steps=30)
    losses = rough.losses()
    assert losses[-1] == pytest.approx(exact[-1], abs=0.1)
    assert losses[-1] < losses[0] - 0.5
    assert all(w.dtype == torch.float32 for w in rough.trainee.model.parameters())


def _able() -> bool:
    from llmwright.training.runtimes.precision import has_bf16

    return has_bf16(torch.device("cpu"))


def test_masks_are_left_out_only_where_they_do_nothing(causal, bench, tiny) -> None:
    assert not causal().trainee.objective.needs_mask
    assert causal().trainee.objective.head is not None
    dataset = bench.dataset("text-generation", "text", train=[{"text": TEXT}])
    recurrent = Bench(
        bench,
        {"model": tiny("recurrent"), "max_steps": 2},
        dataset,
        bench.tokenizer([TEXT]),
    )
    # Its head has dropout before it: what holds in evaluation would not hold in training.
    assert recurrent.trainee.objective.head is None
    assert all(np.isfinite(recurrent.losses()))


def test_completion_loss_equals_the_library_loss(bench, tiny) -> None:
    rows = [{"input": "red " * n, "target": "sun " * n} for n in (1, 2, 3, 4)]
    dataset = bench.dataset("text-generation", "pair", train=rows)
    tokenizer = bench.tokenizer(["red sun"])
    made = Bench(bench, {"model": tiny(), "batch_size": 4, "max_steps": 1}, dataset, tokenizer)
    examples = made.material.train.examples
    batch = made.material.contract
    width = max(len(e.input_ids_T) for e in examples)
    pad = load_tokenizer(tokenizer.path).pad_token_id
    ids = torch.full((4, width), pad)
    labels = torch.full((4, width), -100)
    for i, example in enumerate(examples):
        ids[i, : len(example.input_ids_T)] = torch.from_numpy(example.input_ids_T)
        labels[i, : len(example.labels)] = torch.from_numpy(example.labels)
    mask = (ids != pad).long()
    expected = made.material.model(ids, attention_mask=mask, labels=labels).loss
    assert batch.begins_with_bos
    assert made.losses()[0] == pytest.approx(expected.item(), rel=1e-5)
