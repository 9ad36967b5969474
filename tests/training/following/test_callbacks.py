"""Best weights, patience, intervals, validation figures, probes and cards."""

from __future__ import annotations

import json

import pytest
import torch

from llmwright.core.errors import CheckError, ConfigError, InputError
from llmwright.core.events import Metric, Notice, Progress, Sample
from llmwright.inference.proof.probes import Probes
from llmwright.models.load import load_model, load_tokenizer
from llmwright.tasks.contract import Contract
from llmwright.training.checkpoints.store import Checkpoints
from llmwright.training.objectives.classification import SingleLabelObjective

ROWS = [{"text": f"{c} {t}", "label": c} for c in ("red", "blue") for t in ("sun", "snow", "day")]
# The validation split says the opposite: the longer it is trained, the worse it gets.
OPPOSITE = [{**row, "label": "red" if row["label"] == "blue" else "blue"} for row in ROWS]


@pytest.fixture
def contrary(bench, tiny):
    dataset = bench.dataset(
        "text-classification", "classification", train=ROWS * 2, validation=OPPOSITE
    )
    tokenizer = bench.tokenizer(["red blue sun snow day"], "cls_sep", "word")

    def run(name="run", **values):
        defaults = {
            "model": tiny("encoder", dropout=0.0),
            "lr": 1e-2,
            "batch_size": 4,
            "max_steps": 40,
            "evaluate_every_steps": 4,
            "selection": "loss",
        }
        return bench.train({**defaults, **values}, dataset, tokenizer, name)

    return run


def record(artifact):
    return json.loads((artifact.path / "training.json").read_text())


def test_best_weights_are_kept_and_patience_ends_the_run(contrary, bench) -> None:
    artifact = contrary(patience=3)
    done = record(artifact)
    losses = {int(e["step"]): e["loss"] for e in done["evaluations"]}
    best = min(losses, key=losses.get)
    assert done["stopped_early"]
    assert done["best"]["step"] == best
    assert done["steps"] == best + 3 * 4 < 40
    assert any("nothing was better" in e.text for e in bench.events if isinstance(e, Notice))
    # The saved weights are those of the best step, not of the last.
    model, tokenizer = load_model(artifact.path), load_tokenizer(artifact.path)
    contract = Contract.open(artifact.path)
    batch = tokenizer([row["text"] for row in OPPOSITE], padding=True, return_tensors="pt")
    labels = torch.tensor([contract.labels.index(row["label"]) for row in OPPOSITE])
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert loss == pytest.approx(losses[best], abs=1e-4)
    assert loss < losses[done["steps"]]


def test_without_patience_it_goes_to_the_end(contrary) -> None:
    assert record(contrary())["steps"] == 40


def test_selection_by_accuracy(contrary) -> None:
    done = record(contrary(selection="accuracy"))
    accuracies = [e["accuracy"] for e in done["evaluations"]]
    assert done["best"]["accuracy"] == max(accuracies)


def test_of_equal_accuracies_the_smaller_loss_is_better(bench, tiny) -> None:
    # No row has exactly the right labels so early, but the loss falls from the first step on.
    rows = [{"text": f"{a} {b}", "labels": [a, b]} for a in "xyz" for b in "pqr"]
    dataset = bench.dataset("text-classification", "classification", train=rows, validation=rows)
    values = {"model": tiny("encoder", dropout=0.0), "max_steps": 8, "evaluate_every_steps": 1}
    tokenizer = bench.tokenizer(["x y z p q r"], "cls_sep", "word")
    done = record(bench.train({**values, "patience": 1}, dataset, tokenizer))
    assert {e["accuracy"] for e in done["evaluations"]} == {0.0}
    assert done["steps"] == 8
    assert done["best"]["loss"] == min(e["loss"] for e in done["evaluations"])


def test_history_and_evaluation_intervals(contrary, bench) -> None:
    done = record(contrary(log_every_steps=5, max_steps=22))
    # The steps since the last whole interval are in it, too.
    assert [e["step"] for e in done["history"]] == [5, 10, 15, 20, 22]
    # The last step is measured, too.
    assert [e["step"] for e in done["evaluations"]] == [4, 8, 12, 16, 20, 22]
    metrics = [e for e in bench.events if isinstance(e, Metric) and e.split == "train"]
    for name in ("loss", "lr", "grad_norm"):
        assert [m.step for m in metrics if m.name == name] == [5, 10, 15, 20, 22]
        written = [m.value for m in metrics if m.name == name]
        assert written == [entry[name] for entry in done["history"]]


def test_without_clipping_nobody_claims_a_gradient_norm(contrary, bench) -> None:
    done = record(contrary(log_every_steps=5, max_steps=5, max_grad_norm=None))
    assert "grad_norm" not in done["history"][0]
    assert not [e for e in bench.events if isinstance(e, Metric) and e.name == "grad_norm"]


def test_evaluation_defaults_to_5_to_20_times(contrary) -> None:
    few = record(contrary("few", evaluate_every_steps=None, max_steps=10))
    assert [e["step"] for e in few["evaluations"]] == [2, 4, 6, 8, 10]
    many = record(contrary("many", evaluate_every_steps=None, max_steps=100))
    assert len(many["evaluations"]) == 20


def test_probes_from_generated_inputs_and_from_a_file(contrary, bench) -> None:
    made = contrary("a", max_steps=1, probes={"source": "generated", "count": 5})
    assert Contract.open(made.path).probes.source == "generated"
    assert len(Probes.open(made.path).probes) == 5
    (bench.root / "probes.jsonl").write_text('{"text": "red sun"}\n{"text": "blue"}\n')
    read = contrary("b", max_steps=1, probes={"source": "file", "file": "probes.jsonl"})
    assert [p.row["text"] for p in Probes.open(read.path).probes] == ["red sun", "blue"]
    with pytest.raises(InputError) as caught:
        contrary("c", max_steps=1, probes={"source": "file", "file": "nothing.jsonl"})
    assert caught.value.code == "TRAIN-014"


def test_the_card_says_what_it_learned(contrary) -> None:
    card = (contrary(max_steps=4).path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-classification\n")
    assert "12 train, 6 validation" in card
    assert "`blue`, `red`" in card
    assert "4 steps" in card


def test_a_finished_epoch_is_counted_and_short_runs_have_a_history(contrary) -> None:
    done = record(contrary(max_steps=None, epochs=3, evaluate_every_steps=None))
    assert (done["steps"], done["epochs"]) == (9, 3)
    # Steps between entries are 10: all of them are in one.
    assert [e["step"] for e in done["history"]] == [9]
    assert done["history"][0]["loss"] > 0


def test_a_gradient_that_is_no_number_names_its_step_and_nothing_of_it_is_kept(
    contrary, monkeypatch, bench
) -> None:
    plain, calls = SingleLabelObjective.losses, []

    def steep(self, model, tensors, done):
        calls.append(1)
        loss = plain(self, model, tensors, done)
        if len(calls) == 6:
            # Infinitely steep where it is 0: the loss stays what it was.
            loss = loss + (loss - loss.detach()).clamp(min=0).sqrt()
        return loss

    monkeypatch.setattr(SingleLabelObjective, "losses", steep)
    with pytest.raises(CheckError, match="TRAIN-012.*length of the gradient") as caught:
        contrary(checkpoint_every_steps=1)
    assert caught.value.values["step"] == 6
    assert "train.csv:" in caught.value.message
    kept = bench.root / "runs" / "run" / "checkpoints"
    assert [path.name for path in kept.glob("step-*")] == ["step-00000005"]
    calls.clear()
    with pytest.raises(CheckError, match="TRAIN-015"):
        contrary("unclipped", checkpoint_every_steps=1, max_grad_norm=None)


def test_time_alone_is_reason_for_a_checkpoint(contrary, bench, monkeypatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, trainee, state: saved.append(state.step))
    seldom = {"max_steps": 3, "checkpoint_every_steps": 1000, "evaluate_every_steps": 1000}
    contrary("often", checkpoint_every_minutes=1e-9, **seldom)
    contrary("seldom", **seldom)
    assert saved == [1, 2, 3, 3]


def test_the_validation_loss_is_the_plain_one_whatever_training_weighs(contrary) -> None:
    values = {"lr": 1e-12, "max_steps": 1}
    plain = record(contrary("plain", **values))["evaluations"]
    weights = {"class_weights": {"red": 5.0, "blue": 0.0}, "label_smoothing": 0.3}
    assert record(contrary("weighed", **values, **weights))["evaluations"] == plain


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no row has an input"),
        ('{"txt": "red sun"}\n', "no value for"),
        ("[1, 2]\n", "probes.jsonl:1"),
    ],
)
def test_a_wrong_file_of_probes_is_found_before_the_first_step(
    contrary, bench, content, reason
) -> None:
    (bench.root / "probes.jsonl").write_text(content)
    with pytest.raises(InputError, match="TRAIN-014") as caught:
        contrary(probes={"source": "file", "file": "probes.jsonl"})
    assert reason in caught.value.message
    assert not [e for e in bench.events if isinstance(e, Progress) and e.stage == "train"]


WITHOUT = [{"patience": 2}, {"selection": "loss"}, {"probes": {"source": "validation"}}]


@pytest.mark.parametrize("values", WITHOUT)
def test_what_needs_a_validation_split_is_refused_without_one(bench, tiny, values) -> None:
    dataset = bench.dataset("text-classification", "classification", train=ROWS)
    tokenizer = bench.tokenizer(["red blue sun snow day"], "cls_sep", "word")
    with pytest.raises(ConfigError, match="TRAIN-017"):
        bench.train({"model": tiny("encoder"), "max_steps": 1, **values}, dataset, tokenizer)


def test_samples_need_no_validation_split(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}] * 4)
    bench.train(
        {
            "model": tiny(),
            "max_steps": 2,
            "evaluate_every_steps": 1,
            "sample_prompts": ["red"],
        },
        dataset,
        bench.tokenizer(["red sun"]),
    )
    assert [e.step for e in bench.events if isinstance(e, Sample)] == [1, 2]
