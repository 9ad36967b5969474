"""The Python API takes what Python has: artifacts, paths, mappings."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import llmwright
from llmwright.api import open_project
from llmwright.core import pipeline
from llmwright.core.config import parse
from llmwright.core.errors import ConfigError
from llmwright.operations import OPERATIONS
from llmwright.training.config import TrainConfig


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [f"text number {n},{'abc'[n % 3]}" for n in range(60)]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_paths_and_artifacts_are_references(folder: Path) -> None:
    data = llmwright.prepare(source={"train": [folder / "a.csv"]}, max_rows=30)
    assert sum(data.metadata["counts"].values()) == 30
    newest = llmwright.prepare(source="a.csv")
    for reference in (data, data.path, str(data.path)):
        made = llmwright.tokenize(kind="char", dataset=reference)
        origin = llmwright.Artifact.open(made.path)
        assert origin.id == made.id
        with pytest.raises(ConfigError) as caught:
            llmwright.evaluate(model=reference)
        assert caught.value.code == "CORE-063"
        with pytest.raises(ConfigError) as caught:
            llmwright.train(dataset=newest, model={"kind": "step", "name": reference})
        assert caught.value.code == "CORE-063"


def test_no_folder_takes_the_place_of_a_verb() -> None:
    import_module("llmwright.export.support")
    assert all(callable(getattr(llmwright, name)) for name in llmwright.__all__)
    assert not inspect.ismodule(llmwright.export)


def test_a_run_obeys_the_environment_as_the_command_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "llmwright.yaml").write_text("prepare: {source: a.csv, max_rows: 20}\n")
    monkeypatch.setenv("LLMWRIGHT_PREPARE__MAX_ROWS", "40")
    made = llmwright.run()["prepare"]
    assert sum(made.metadata["counts"].values()) == 40
    made = llmwright.run(overrides={"prepare.max_rows": 50})["prepare"]
    assert sum(made.metadata["counts"].values()) == 50


def test_what_a_model_brings_is_not_taken_from_the_project(folder: Path) -> None:
    project = open_project()
    train = OPERATIONS["train"]
    hub = TrainConfig.model_validate({"model": {"kind": "hub", "name": str(folder / "bert")}})
    llmwright.prepare(source="a.csv")
    inputs = pipeline.resolve_inputs(project, hub)
    before = pipeline.fingerprint_of(
        project, train, hub, inputs, pipeline.local_hashes(project, hub)
    )
    made = llmwright.tokenize(kind="char")
    assert pipeline.resolve_inputs(project, hub) == inputs
    assert inputs.keys() == {"dataset"}
    assert (
        pipeline.fingerprint_of(project, train, hub, inputs, pipeline.local_hashes(project, hub))
        == before
    )
    assert pipeline.resolve_inputs(project, TrainConfig())["tokenizer"] == made
    named = hub.model_copy(update={"tokenizer": "tokenize"})
    assert pipeline.resolve_inputs(project, named)["tokenizer"] == made


@pytest.mark.parametrize(
    ("verb", "values"),
    [
        ("prepare", {"split": {"validation": 0.5, "test": 0.5}}),
        ("prepare", {"clean": [{"kind": "length", "min": 9, "max": 1}]}),
        ("train", {"optimizer": {"kind": "sgd", "momentum": 0, "nesterov": True}}),
        ("train", {"probes": {"source": "file"}}),
        ("train", {"epochs": 0}),
        ("train", {"seed": "x"}),
        ("train", {"precision": "half"}),
        ("serve", {"port": 70000}),
    ],
    ids=str,
)
def test_a_wrong_value_is_said_in_chinese(
    verb: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    values = {"source": "a.csv", **values} if verb == "prepare" else values
    with pytest.raises(ConfigError) as caught:
        parse(OPERATIONS[verb].config_class(), values, verb)
    reason = str(caught.value.values["reason"])
    assert re.search("[\u4e00-\u9fff]", reason), reason


def test_warnings_are_logged_where_nobody_else_takes_them(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (folder / "a.csv").open("a", encoding="utf-8") as file:
        file.write("\nno label,\n")
    made = llmwright.prepare(source="a.csv")
    assert made.metadata["num_rejected"] == 1
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("llmwright", "WARNING")
    assert "1 of 61" in record.getMessage()
    caplog.clear()
    taken: list[object] = []
    llmwright.prepare(source="a.csv", max_rows=61, consumers=[taken.append])
    assert not caplog.records
    assert record.getMessage() in {getattr(event, "text", "") for event in taken}
