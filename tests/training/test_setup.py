"""What is decided before the first step: lengths, tokenizers, what is left out."""

from __future__ import annotations

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig

from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.events import Notice, Progress
from llmwright.data.records import Dataset, Numbers
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS
from llmwright.tasks.text_generation import TextGeneration
from llmwright.training.config import TrainConfig
from llmwright.training.runtimes import precision
from llmwright.training.runtimes.precision import choose_precision
from llmwright.training.runtimes.runtime import Runtime
from llmwright.training.setup import continued
from llmwright.training.train import batch_limits, train

FAST = {"max_steps": 1, "batch_size": 4}


def chat(question: str) -> dict[str, object]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "ok"}]
    return {"messages": turns}


def warnings_of(bench) -> str:
    said = [e.text for e in bench.events if isinstance(e, Notice) and e.level == "warning"]
    return "\n".join(said)


def test_rows_cut_before_their_target_are_left_out_and_counted(bench, tiny) -> None:
    rows = [chat("red"), chat("red " * 40)]
    dataset = bench.dataset("text-generation", "messages", train=rows)
    tokenizer = bench.tokenizer(["red ok"])
    bench.train({**FAST, "model": tiny(), "max_length": 64}, dataset, tokenizer)
    assert "1 of 2 train rows were left out" in warnings_of(bench)
    with pytest.raises(InputError) as caught:
        bench.train({**FAST, "model": tiny(), "max_length": 8}, dataset, tokenizer, "b")
    assert caught.value.code == "TRAIN-011"


def test_a_model_from_scratch_is_made_to_read_the_longest_row(bench, tiny) -> None:
    rows = [{"text": "red " * 400, "label": "warm"}, {"text": "blue", "label": "cold"}]
    dataset = bench.dataset("text-classification", "classification", train=rows)
    artifact = bench.train(
        {**FAST, "model": tiny("encoder")},
        dataset,
        bench.tokenizer(["red blue"], "cls_sep", "word"),
    )
    assert Contract.open(artifact.path).max_length == 402
    assert "cut" not in warnings_of(bench)


def test_no_validation_split_is_said(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}])
    bench.train({**FAST, "model": tiny()}, dataset, bench.tokenizer(["red sun"]))
    assert "There is no validation split" in warnings_of(bench)


def test_a_model_from_scratch_needs_a_tokenizer(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}])
    config = TrainConfig.model_validate({**FAST, "model": tiny()})
    with pytest.raises(InputError) as caught:
        train(config, {"dataset": dataset}, bench.run())
    assert caught.value.code == "TRAIN-002"


def test_a_finished_model_brings_its_own_tokenizer(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}])
    first = bench.train({**FAST, "model": tiny()}, dataset, bench.tokenizer(["red sun"]), "a")
    other = bench.tokenizer(["something else altogether"])
    config = {**FAST, "model": {"kind": "step"}}
    inputs = {"dataset": dataset, "tokenizer": other, "model.name": first}
    second = train(TrainConfig.model_validate(config), inputs, bench.run("b"))
    texts = [(artifact.path / "tokenizer.json").read_text() for artifact in (first, second)]
    assert texts[0] == texts[1]


def test_a_finished_model_without_tokenizer_takes_the_one_that_is_named(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}])
    tokenizer = bench.tokenizer(["red sun"])
    first = bench.train({**FAST, "model": tiny()}, dataset, tokenizer, "a")
    bare = bench.root / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((first.path / name).read_bytes())
    config = {**FAST, "model": {"kind": "hub", "name": "bare"}}
    with pytest.raises(InputError, match="TOK-011"):
        train(TrainConfig.model_validate(config), {"dataset": dataset}, bench.run("b"))
    config["tokenizer"] = tokenizer.id
    again = bench.train(config, dataset, tokenizer, "c")
    names = [artifact.path / "tokenizer.json" for artifact in (tokenizer, again)]
    assert names[0].read_text() == names[1].read_text()


def test_a_chat_needs_a_template(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "messages", train=[chat("red")])
    tokenizer = bench.tokenizer(["red ok"], "eos")
    with pytest.raises(InputError) as caught:
        bench.train({**FAST, "model": tiny()}, dataset, tokenizer)
    assert caught.value.code == "TASK-005"


def test_bf16_is_refused_where_the_hardware_lacks_it(bench, tiny, monkeypatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError) as caught:
        choose_precision("bf16", model, torch.device("cpu"))
    assert caught.value.code == "TRAIN-007"
    assert choose_precision("auto", model, torch.device("cpu"))[0] == "float32"


def test_autocast_calculates_in_bf16_and_leaves_weights_alone() -> None:
    runtime = Runtime(torch.device("cpu"), 1)
    layer = torch.nn.Linear(2, 2)
    runtime.precision = "bf16"
    with runtime.autocast():
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32


def test_the_probe_file_and_its_source_need_each_other() -> None:
    with pytest.raises(ValueError, match="need each other"):
        TrainConfig.model_validate({"probes": {"source": "file"}})


LABELLED = [{"text": "red sun", "label": "a"}, {"text": "blue sea", "label": "b"}]
PAIRED = [{"input": "red", "target": "sun"}]
SUITED = [
    ("text-generation", "text", [{"text": "red sun"}], "llama"),
    ("text-classification", "classification", LABELLED, "bert"),
    ("token-classification", "tags", [{"tokens": ["red"], "tags": ["O"]}], "bert"),
    ("seq2seq", "pair", PAIRED, "pegasus"),
]


@pytest.mark.parametrize(("task", "row_type", "rows", "model_type"), SUITED)
def test_a_size_alone_makes_the_family_that_suits_the_task(
    bench, tiny, task: str, row_type: str, rows: list, model_type: str
) -> None:
    dataset = bench.dataset(task, row_type, train=rows)
    tokenizer = bench.tokenizer(["red sun blue sea"], "eos" if task == "seq2seq" else "cls_sep")
    sizes = {name: tiny()[name] for name in ("hidden_size", "num_layers", "num_heads")}
    artifact = bench.train({**FAST, "model": sizes}, dataset, tokenizer)
    assert Contract.open(artifact.path).model_type == model_type
    said = [e.text for e in bench.events if isinstance(e, Notice)]
    assert any(s.startswith("No architecture was named; training a new tiny") for s in said)


def test_labels_that_are_numbers_in_yaml_may_be_weighed() -> None:
    config = TrainConfig.model_validate({"class_weights": {0: 1.0, "no": 2}})
    assert config.class_weights == {"0": 1.0, "no": 2.0}


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ConfigError, match="nesterov needs momentum above 0"):
        parse(TrainConfig, {"optimizer": {"kind": "sgd", "momentum": 0, "nesterov": True}})


def test_a_batch_that_nobody_sized_holds_what_memory_can(bench, tiny) -> None:
    def limits(task: str, words: int) -> tuple[int, int]:
        config = LlamaConfig(vocab_size=words)
        problem = SimpleNamespace(task=TASKS.get(task)())
        material = SimpleNamespace(model=SimpleNamespace(config=config))
        return batch_limits(TrainConfig(), problem, material)

    assert limits("text-generation", 8000) == (32, 16_384)
    # 152 thousand logits for each of these tokens are 1 GB.
    assert limits("text-generation", 151_936) == (32, 1766)
    assert limits("text-classification", 151_936) == (32, 16_384)


def test_the_size_of_a_batch_is_said_and_recorded(bench, tiny) -> None:
    rows = [{"text": "red " * 300, "label": "a"}, {"text": "blue", "label": "b"}] * 40
    dataset = bench.dataset("text-classification", "classification", train=rows)
    tokenizer = bench.tokenizer(["red blue"], "cls_sep", "word")
    artifact = bench.train({"model": tiny("encoder"), "epochs": 1}, dataset, tokenizer)
    said = [e.text for e in bench.events if isinstance(e, Notice)]
    assert "Batches of at most 32 rows and 16,384 tokens (no size was given)." in said
    resolved = json.loads((artifact.path / "training.json").read_text())["resolved"]
    assert (resolved["batch_size"], resolved["batch_tokens"]) == (32, 16_384)


def test_rows_are_read_once_and_progress_is_said(bench, tiny, monkeypatch) -> None:
    read: list[str] = []
    document = TextGeneration.document

    def noted(self, row, *rest):
        read.append(row["source"])
        return document(self, row, *rest)

    monkeypatch.setattr(TextGeneration, "document", noted)
    text = "red sun " * 40
    rows = [{"text": text}]
    dataset = bench.dataset("text-generation", "text", train=rows, validation=rows)
    artifact = bench.train({**FAST, "model": tiny(context=32)}, dataset, bench.tokenizer([text]))
    assert read == ["train.csv", "validation.csv"]
    # Texts this long are learned without the begin token that they were first read with.
    assert not Contract.open(artifact.path).begins_with_bos
    assert Contract.open(artifact.path).profile["length_tokens"]["max"] == len(text) + 1
    stages = {e.stage for e in bench.events if isinstance(e, Progress)}
    assert {"encode_train", "encode_validation"} <= stages


def test_a_split_with_nothing_to_learn_is_named(bench, tiny) -> None:
    rows = {"train": [chat("red")], "validation": [chat("red " * 40)]}
    dataset = bench.dataset("text-generation", "messages", **rows)
    with pytest.raises(InputError, match="TRAIN-011.*validation split"):
        bench.train(
            {**FAST, "model": tiny(), "max_length": 64}, dataset, bench.tokenizer(["red ok"])
        )


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_weights_of_classes_are_finite_and_not_negative(weight) -> None:
    with pytest.raises(ConfigError, match="class_weights"):
        parse(TrainConfig, {"class_weights": {"a": weight}})


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_hub_model_is_pinned_to_the_commit_in_the_cache(bench, tiny, monkeypatch) -> None:
    dataset = bench.dataset("text-generation", "text", train=[{"text": "red sun"}])
    tokenizer = bench.tokenizer(["red sun"])
    first = bench.train({**FAST, "model": tiny()}, dataset, tokenizer, "a")
    # As the hub's client keeps what it downloaded.
    cache = bench.root / "hub"
    kept = cache / "models--owner--name"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(COMMIT)
    shutil.copytree(first.path, kept / "snapshots" / COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    values = {**FAST, "model": {"kind": "hub", "name": "owner/name"}}
    second = bench.train(values, dataset, tokenizer, "b")
    resolved = json.loads((second.path / "training.json").read_text())["resolved"]
    assert resolved["model"]["revision"] == COMMIT
    # The fingerprint names it, too: another commit is another step.
    (path,) = TrainConfig.model_validate(values).local_files(bench.root)
    assert path.parent.name == COMMIT
    (kept / "refs" / "main").unlink()
    assert TrainConfig.model_validate(values).local_files(bench.root) == []


STYLED = [
    {**chat("red"), "controls": {"tone": tone, "size": size}}
    for tone in ("formal", "casual")
    for size in ("long", None)
]


def pair(i: int, **more) -> dict[str, object]:
    prompt = [{"role": "user", "content": "red " * (i % 3 + 1)}]
    return {"prompt": prompt, "chosen": "ok", "rejected": "no", **more}


def test_styles_stay_when_a_model_goes_on_learning(bench, tiny) -> None:
    styled = bench.dataset("text-generation", "messages", train=STYLED)
    tokenizer = bench.tokenizer(["red ok no"])
    first = bench.train({**FAST, "model": tiny()}, styled, tokenizer, "first")
    rows = [pair(i) for i in range(4)]
    loud = [pair(i, controls={"tone": "loud", "mood": "glad"}) for i in range(4)]
    for name, given, controls in (
        ("plain", rows, {"tone": ["casual", "formal"], "size": ["long"]}),
        ("loud", loud, {"tone": ["casual", "formal", "loud"], "size": ["long"], "mood": ["glad"]}),
    ):
        dataset = bench.dataset("text-generation", "preference", train=given)
        values = {**FAST, "model": {"kind": "hub", "name": str(first.path)}, "objective": "dpo"}
        made = bench.train(values, dataset, tokenizer, name)
        assert Contract.open(made.path).controls == controls
    said = [event.text for event in bench.events if isinstance(event, Notice)]
    assert sum("controls tone, size; they are kept" in text for text in said) == 2
    reward = {**values, "objective": "reward", "max_length": 64}
    dataset = bench.dataset("text-generation", "preference", train=rows)
    assert Contract.open(bench.train(reward, dataset, tokenizer, "r").path).controls == {}


def test_told_styles_are_kept_with_the_model(bench, tiny) -> None:
    dataset = bench.dataset("text-generation", "messages", train=[chat("red")] * 4)
    tokenizer = bench.tokenizer(["red ok no"])
    formal, loud = {"tone": {"formal": "be formal"}}, {"tone": {"loud": "be loud"}}
    first = bench.train({**FAST, "model": tiny(), "styles": formal}, dataset, tokenizer, "a")
    assert Contract.open(first.path).styles == formal
    further = {**FAST, "model": {"kind": "hub", "name": str(first.path)}, "styles": loud}
    second = bench.train(further, dataset, tokenizer, "b")
    assert Contract.open(second.path).styles == {"tone": {**formal["tone"], **loud["tone"]}}
    plain = bench.dataset("text-generation", "text", train=[{"text": "red ok"}] * 4)
    with pytest.raises(ConfigError, match="TRAIN-202"):
        bench.train({**FAST, "model": tiny(), "styles": loud}, plain, tokenizer, "c")


def test_styles_of_what_writes_nothing_are_refused(bench, tiny) -> None:
    rows = [{"text": "red ok", "controls": {"tone": "formal"}}] * 4
    dataset = bench.dataset("text-generation", "text", train=rows)
    values = {**FAST, "model": tiny("encoder"), "objective": "masked_lm"}
    with pytest.raises(ConfigError, match="TRAIN-200.*tone.*masked_lm"):
        bench.train(values, dataset, bench.tokenizer(["red ok"]))


def test_a_number_stays_in_the_unit_it_was_learned_in(bench, tiny) -> None:
    rows = [{"text": "red", "value": 0.5}, {"text": "blue", "value": 1.5}]
    dataset = bench.dataset("text-regression", "regression", train=rows)
    info = Dataset.open(dataset.path).info
    info = info.model_copy(update={"numbers": Numbers(mean=1, std=0.5, min=0.5, max=1.5)})
    values = {**FAST, "model": tiny("encoder")}
    made = bench.train(values, dataset, bench.tokenizer(["red blue"], "cls_sep", "word"))
    unit = Numbers(mean=300, std=50, min=200, max=400)
    earlier = Contract.open(made.path).model_copy(update={"numbers": unit})
    task = TASKS.get("text-regression")()
    found = continued(info, earlier, task, bench.run()).numbers
    assert found == Numbers(mean=300, std=50, min=0.5, max=1.5)
    assert continued(info, None, task, bench.run()) == info
    assert any("spread of 50" in e.text for e in bench.events if isinstance(e, Notice))
