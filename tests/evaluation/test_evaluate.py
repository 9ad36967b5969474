"""The operation on real tiny models: a classifier trained for a second, and a decoder."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
)

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import CheckError, ConfigError, InputError
from llmwright.core.events import Event, Metric, Notice, Progress
from llmwright.core.runs import Run
from llmwright.data.records import DatasetInfo
from llmwright.evaluation.config import EvaluateConfig
from llmwright.evaluation.evaluate import evaluate
from llmwright.inference.predictor import Predictor
from llmwright.models.load import save_model
from llmwright.tasks.contract import Contract

WORDS = ["sun", "warm", "blue", "rain", "cold", "grey", "day", "the", "was"]
SPECIAL = {"pad": 0, "unk": 1, "bos": 2, "eos": 3}
SUNNY = ["the day was warm", "sun the day", "blue day", "warm sun", "the warm blue day"]
RAINY = ["the day was cold", "rain the day", "grey day", "cold rain", "the cold grey day"]
LABELS = ["bad", "good"]
Evaluate = Callable[..., Artifact]


def save_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    names = ["<pad>", "<unk>", "<bos>", "<eos>", *WORDS]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(names)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_contract(folder: Path, model: Any, **values: Any) -> None:
    Contract(
        model_type=model.config.model_type,
        num_parameters=model.num_parameters(),
        fields={},
        max_length=16,
        **{"special_tokens": SPECIAL, **values},
    ).save(folder)


def encoder_config(num_labels: int) -> BertConfig:
    return BertConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=num_labels,
        pad_token_id=0,
    )


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = BertForSequenceClassification(encoder_config(num_labels=2))
    batch = save_tokenizer(folder)(SUNNY + RAINY, padding=True, return_tensors="pt")
    labels = torch.tensor([1] * len(SUNNY) + [0] * len(RAINY))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    save_model(model.eval(), folder)
    values = {"task": "text-classification", "row_type": "classification", "labels": LABELS}
    save_contract(folder, model, **values)
    return folder


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    model = LlamaForCausalLM(config).eval()
    save_tokenizer(folder)
    save_model(model, folder)
    save_contract(folder, model, task="text-generation", row_type="text", stop_token_ids=[3])
    return folder


def save_dataset(folder: Path, rows: dict[str, list[dict[str, Any]]], **info: Any) -> Path:
    folder.mkdir()
    for split, found in rows.items():
        numbered = [{**row, "source": "weather.csv", "row": n + 2} for n, row in enumerate(found)]
        pl.DataFrame(numbered).write_parquet(folder / f"{split}.parquet")
    made = DatasetInfo(fields={}, counts={k: len(v) for k, v in rows.items()}, **info)
    (folder / "dataset.json").write_text(made.model_dump_json(), encoding="utf-8")
    return folder


@pytest.fixture
def weather(tmp_path: Path) -> Path:
    rows = [{"text": text, "label": "good"} for text in SUNNY]
    rows += [{"text": text, "label": "bad"} for text in RAINY]
    # One row says the opposite of what it is: the model must get exactly this one wrong.
    rows.append({"text": "the cold grey rain", "label": "good"})
    splits = {"validation": rows[:4], "test": rows}
    info = {"task": "text-classification", "row_type": "classification", "shape": "classification"}
    return save_dataset(tmp_path / "weather", splits, **info, labels=LABELS)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def run_evaluate(tmp_path: Path, events: list[Event]) -> Evaluate:
    def call(model: Path, dataset: Path, **values: Any) -> Artifact:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        run = Run("r1", folder, tmp_path, Store(tmp_path / ".llmwright"), [events.append])
        inputs = {
            "model": Artifact("m0", "model", model),
            "dataset": Artifact("d0", "dataset", dataset),
        }
        return evaluate(EvaluateConfig(**values), inputs, run)

    return call


def read_report(artifact: Artifact) -> dict[str, Any]:
    return json.loads((artifact.path / "report.json").read_text(encoding="utf-8"))


def test_report_of_a_classifier(
    classifier: Path, weather: Path, run_evaluate: Evaluate, events: list[Event]
) -> None:
    artifact = run_evaluate(classifier, weather, metrics=["accuracy", "f1_macro", "roc_auc"])
    report = read_report(artifact)
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert report["split"] == "test"
    assert figures["accuracy"]["value"] == pytest.approx(10 / 11)
    assert figures["accuracy"]["low"] < 10 / 11 <= figures["accuracy"]["high"]
    assert report["confusion"] == {"labels": LABELS, "counts": [[5, 0], [1, 5]]}
    lines = (artifact.path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    wrong = [row for row in rows if not row["correct"]]
    assert [(row["input"], row["row"]) for row in wrong] == [("the cold grey rain", 12)]
    assert wrong[0]["prediction"] == "bad"
    assert sum(rows[0]["scores"].values()) == pytest.approx(1, abs=1e-4)
    assert "the cold grey rain" in (artifact.path / "report.html").read_text(encoding="utf-8")
    assert artifact.metadata["metrics"]["accuracy"] == pytest.approx(10 / 11)
    assert any(isinstance(e, Metric) and e.name == "accuracy" for e in events)
    assert any(isinstance(e, Progress) and e.done == 11 for e in events)
    assert any(isinstance(e, Notice) and "test split: 11 rows" in e.text for e in events)


def test_the_tasks_metrics_are_measured_by_default(
    classifier: Path, weather: Path, run_evaluate: Evaluate
) -> None:
    artifact = run_evaluate(classifier, weather)
    assert {"accuracy", "f1_macro"} <= set(artifact.metadata["metrics"])


def test_a_missed_gate_is_an_error_and_keeps_the_report(
    classifier: Path, weather: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    gate = {"accuracy": ">= 0.95", "f1_macro": ">= 0.5"}
    with pytest.raises(CheckError, match="EVAL-002") as caught:
        run_evaluate(classifier, weather, gate=gate)
    assert caught.value.exit_code == 1
    assert "accuracy >= 0.95" in caught.value.message
    assert "f1_macro" not in caught.value.message
    kept = Store(tmp_path / ".llmwright").list()
    assert [artifact.kind for artifact in kept] == ["report"]
    assert read_report(kept[0])["passed"] is False
    assert str(kept[0].path) in caught.value.fix
    assert caught.value.values["report"] == kept[0].path / "report.html"
    assert caught.value.values["metrics"] == kept[0].metadata["metrics"]


def test_a_passed_gate_is_in_the_report_and_said(
    classifier: Path, weather: Path, run_evaluate: Evaluate, events: list[Event]
) -> None:
    report = read_report(run_evaluate(classifier, weather, gate={"accuracy": ">= 0.9"}))
    assert report["verdicts"][0]["passed"] is True
    assert Notice("The gate holds: accuracy >= 0.9 (0.909).") in events


def test_labels_unseen_in_training_are_named(
    classifier: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    rows = [{"text": "sun", "label": "good"}] + [{"text": "grey", "label": "odd"}] * 2
    info = {"task": "text-classification", "row_type": "classification", "shape": "classification"}
    dataset = save_dataset(tmp_path / "odd", {"test": rows}, **info, labels=[*LABELS, "odd"])
    with pytest.raises(InputError, match="EVAL-003") as caught:
        run_evaluate(classifier, dataset)
    for part in ("odd (2)", "2 rows", "row 3 of weather.csv"):
        assert part in caught.value.message
    assert "bad, good" in caught.value.fix


def test_validation_stands_in_for_a_missing_test_split(
    classifier: Path, weather: Path, run_evaluate: Evaluate, events: list[Event]
) -> None:
    info = json.loads((weather / "dataset.json").read_text(encoding="utf-8"))
    info["counts"] = {"validation": 4}
    (weather / "dataset.json").write_text(json.dumps(info), encoding="utf-8")
    assert read_report(run_evaluate(classifier, weather))["split"] == "validation"
    assert any(isinstance(e, Notice) and "no test split" in e.text for e in events)


def test_max_rows_draws_by_seed(classifier: Path, weather: Path, run_evaluate: Evaluate) -> None:
    artifact = run_evaluate(classifier, weather, max_rows=5)
    report = read_report(artifact)
    assert (report["num_scored"], report["num_rows"]) == (5, 11)
    assert artifact.id == run_evaluate(classifier, weather, max_rows=5).id
    assert artifact.id != run_evaluate(classifier, weather, max_rows=5, seed=1).id


def test_batch_size_does_not_change_figures(
    classifier: Path, weather: Path, run_evaluate: Evaluate
) -> None:
    small = read_report(run_evaluate(classifier, weather, batch_size=1))
    large = read_report(run_evaluate(classifier, weather, batch_size=64))
    assert small["figures"] == large["figures"]


def test_an_impossible_metric_is_refused(
    classifier: Path, weather: Path, run_evaluate: Evaluate, events: list[Event]
) -> None:
    with pytest.raises(InputError, match="EVAL-005"):
        run_evaluate(classifier, weather, metrics=["perplexity"])
    assert not any(isinstance(e, Progress) for e in events)


def test_a_positive_label_that_does_not_exist_is_refused(
    classifier: Path, weather: Path, run_evaluate: Evaluate
) -> None:
    with pytest.raises(ConfigError, match="EVAL-009"):
        run_evaluate(classifier, weather, positive_label="great")


def test_model_and_dataset_of_different_tasks_are_refused(
    decoder: Path, weather: Path, run_evaluate: Evaluate
) -> None:
    with pytest.raises(InputError, match="EVAL-008"):
        run_evaluate(decoder, weather)


def test_perplexity_is_that_of_the_models_own_logits(
    decoder: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    texts = ["the day was warm", "sun", "cold rain the grey day"]
    info = {"task": "text-generation", "row_type": "text", "shape": "text"}
    rows = [{"text": text} for text in texts]
    dataset = save_dataset(tmp_path / "texts", {"test": rows}, **info)
    report = read_report(
        run_evaluate(decoder, dataset, metrics=["perplexity", "loss", "bits_per_byte"])
    )
    figures = {figure["name"]: figure["value"] for figure in report["figures"]}

    model = LlamaForCausalLM.from_pretrained(decoder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(decoder)
    nats, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], 3]])
        with torch.no_grad():
            log_probs = model(ids).logits.log_softmax(dim=-1)[0, :-1]
        nats -= log_probs.gather(1, ids[0, 1:, None]).sum().item()
        tokens += ids.shape[1] - 1
    assert figures["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert figures["loss"] == pytest.approx(nats / tokens, rel=1e-4)
    num_bytes = sum(len(text.encode()) for text in texts)
    assert figures["bits_per_byte"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-4)


def test_bytes_are_those_of_the_text_not_of_its_segmentation(
    decoder: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    folder = tmp_path / "segmented"
    shutil.copytree(decoder, folder)
    steps = {"text_steps": [{"kind": "jieba"}]}
    Contract.open(folder).model_copy(update=steps).save(folder)
    info = {"task": "text-generation", "row_type": "text", "shape": "text"}
    dataset = save_dataset(tmp_path / "texts", {"test": [{"text": "今天天气很好"}]}, **info)
    artifact = run_evaluate(folder, dataset, metrics=["loss", "bits_per_byte"])
    values = {figure["name"]: figure["value"] for figure in read_report(artifact)["figures"]}
    row = json.loads((artifact.path / "predictions.jsonl").read_text())
    bits = values["loss"] * row["num_tokens"] / math.log(2)
    assert bits / values["bits_per_byte"] == pytest.approx(len("今天天气很好".encode()))


def test_rows_the_model_cannot_read_are_listed_and_left_out(
    classifier: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    rows = [{"text": "warm sun", "label": "good"}, {"text": None, "label": "bad"}]
    rows.append({"text": "cold rain", "label": "bad"})
    info = {"task": "text-classification", "row_type": "classification", "shape": "classification"}
    dataset = save_dataset(tmp_path / "gap", {"test": rows}, **info, labels=LABELS)
    report = read_report(run_evaluate(classifier, dataset))
    assert (report["num_scored"], report["num_rows"]) == (2, 3)
    assert [(row["source"], row["row"]) for row in report["unscored"]] == [("weather.csv", 3)]
    assert report["figures"][0]["value"] == 1.0
    none = save_dataset(tmp_path / "none", {"test": rows[1:2]}, **info, labels=LABELS)
    with pytest.raises(InputError, match="EVAL-007"):
        run_evaluate(classifier, none)


def test_tags_beyond_the_longest_input_count_as_missed_and_are_said(
    run_evaluate: Evaluate, tmp_path: Path
) -> None:
    folder = tmp_path / "tagger"
    torch.manual_seed(0)
    model = BertForTokenClassification(encoder_config(num_labels=3)).eval()
    save_tokenizer(folder)
    save_model(model, folder)
    tags = ["B-SKY", "I-SKY", "O"]
    values = {"task": "token-classification", "row_type": "tags", "labels": tags}
    save_contract(folder, model, **values)
    rows = [
        {"tokens": ["blue", "day"], "tags": ["B-SKY", "I-SKY"]},
        {"tokens": ["sun"] * 20, "tags": ["B-SKY"] + ["O"] * 19},
    ]
    info = {"task": "token-classification", "row_type": "tags", "shape": "tags", "labels": tags}
    artifact = run_evaluate(folder, save_dataset(tmp_path / "sky", {"test": rows}, **info))
    report = read_report(artifact)
    assert {"seqeval_f1", "token_accuracy"} <= set(artifact.metadata["metrics"])
    lines = (artifact.path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    long = json.loads(lines[1])
    assert len(long["prediction"]) == 20
    assert long["prediction"][16:] == ["O"] * 4
    assert any("4 tokens in 1 rows" in note["text"] for note in report["notes"])


def test_text_figures_are_those_of_the_models_own_answers(
    run_evaluate: Evaluate, tmp_path: Path
) -> None:
    folder = tmp_path / "seq2seq"
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=4 + len(WORDS),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=16,
        decoder_start_token_id=2,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        forced_eos_token_id=None,
    )
    model = MarianMTModel(config).eval()
    save_tokenizer(folder)
    save_model(model, folder)
    special = {**SPECIAL, "decoder_start": 2}
    values = {"task": "seq2seq", "row_type": "pair", "max_target_length": 8}
    save_contract(folder, model, **values, special_tokens=special, stop_token_ids=[3])
    answers = [a["text"] for a in Predictor.open(folder).predict([{"input": t} for t in SUNNY])]
    # Two references are made to be what the model says.
    rows = [
        {"input": text, "target": answer if n < 2 else "grey rain"}
        for n, (text, answer) in enumerate(zip(SUNNY, answers, strict=True))
    ]
    info = {"task": "seq2seq", "row_type": "pair", "shape": "pair"}
    dataset = save_dataset(tmp_path / "pairs", {"test": rows}, **info)
    artifact = run_evaluate(folder, dataset, metrics=["exact_match", "chrf", "perplexity"])
    figures = artifact.metadata["metrics"]
    assert figures["exact_match"] == pytest.approx(2 / 5)
    assert 40 <= figures["chrf"] < 100
    assert figures["perplexity"] > 1
    lines = (artifact.path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == answers
