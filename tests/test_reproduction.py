"""A run done again from its lock: equal bit by bit, or said to be otherwise."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import llmwright
from llmwright import reproduction
from llmwright.api import open_project
from llmwright.cli.main import invoke
from llmwright.core import files
from llmwright.core.artifacts import Artifact, read_manifest
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.events import Notice
from llmwright.core.origin import lock as locks
from llmwright.training.config import TrainConfig

TINY = {
    "model": {"kind": "scratch", "architecture": "encoder", "hidden_size": 16, "num_layers": 1}
    | {"num_heads": 2},
    "runtime": {"kind": "single", "num_threads": 1, "device": "cpu"},
    "probes": {"count": 4},
    "max_steps": 6,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a tiny classifier was trained on a file of the project and one beside."""
    base = tmp_path_factory.mktemp("base")
    rows = [f"text number {n} {'abc'[n % 3] * 3},{'abc'[n % 3]}" for n in range(60)]
    (base / "a.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    root = base / "project"
    root.mkdir()
    llmwright.prepare(source=str(base / "a.csv"), project=root)
    llmwright.tokenize(kind="char", project=root)
    llmwright.train(project=root, **TINY)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of that project."""
    shutil.copytree(made.parent, tmp_path / "base")
    return tmp_path / "base" / "project"


def lock_file(root: Path, step: str) -> Path:
    row = open_project(root).index.runs(step=step)[0]
    return root / ".llmwright" / "runs" / row.id / locks.LOCK_FILE


def test_a_training_is_reproduced_bit_by_bit(root: Path) -> None:
    before = open_project(root).index.runs(step="train")[0]
    report = llmwright.reproduce("train", project=root)
    body = report.metadata["reproduction"]
    assert report.metadata["passed"]
    assert body["equal"]
    assert body["made"] == body["expected"] == before.artifact
    assert {found["name"]: found["difference"] for found in body["findings"]} == {
        "files": None, "weights": 0, "loss": 0, "validation": 0, "answers": None, "outputs": 0
    }  # fmt: skip
    # What was reproduced is still what the step made, and neither of them is run again.
    project = open_project(root)
    assert project.index.runs(step="train")[0].id == before.id
    assert llmwright.reproduce("prepare", project=root).metadata["passed"]
    assert llmwright.reproduce("tokenize", project=root).metadata["passed"]


def test_a_changed_seed_is_noticed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lock_file(root, "train")
    lock = files.read_json(path)
    lock["config"]["seed"] = 7
    other = root / "other.lock.json"
    other.write_text(json.dumps(lock), encoding="utf-8")
    said: list[Any] = []
    report = llmwright.reproduce(other, project=root, consumers=[said.append])
    body = report.metadata["reproduction"]
    assert not report.metadata["passed"]
    assert not body["lock_untouched"]
    weights = next(found for found in body["findings"] if found["name"] == "weights")
    assert weights["difference"] > 0.01
    assert not weights["within"]
    assert any(isinstance(event, Notice) and "was changed" in event.text for event in said)
    # What differs is allowed as far as one says.
    near = llmwright.reproduce(other, tolerance=100.0, project=root)
    assert near.metadata["passed"]
    assert not near.metadata["reproduction"]["equal"]
    assert invoke(["reproduce", str(other), "--project", str(root)]) == 1
    assert "weights (tensors)" in capsys.readouterr().out
    assert invoke(["reproduce", str(other), "--tolerance", "100", "--project", str(root)]) == 0


def test_a_lock_travels_with_the_artifact_and_holds_nothing_private(root: Path) -> None:
    for step in ("prepare", "train"):
        row = open_project(root).index.runs(step=step)[0]
        artifact = open_project(root).store.get(row.artifact or "")
        assert artifact is not None
        origin = read_manifest(artifact.path)["origin"]
        lock, untouched = locks.read(lock_file(root, step))
        assert untouched
        assert lock == origin | {"result": locks.result_of(artifact)}
        assert lock["machine"]["python"]
        assert lock["versions"]["torch"]
        text = json.dumps(lock)
        assert str(root.parent) not in text
        assert str(Path.home()) not in text
    assert origin["config"]["seed"] == 42
    assert set(origin["inputs"]) == {"dataset", "tokenizer"}


def test_what_is_missing_is_named(root: Path) -> None:
    project = open_project(root)
    dataset = project.index.inputs(project.index.runs(step="train")[0].id)["dataset"]
    folder = project.store.folder(dataset)
    assert folder is not None
    project.store.remove(folder)
    with pytest.raises(InputError) as caught:
        llmwright.reproduce("train", project=root)
    assert caught.value.code == "CORE-121"
    assert dataset in caught.value.message
    shutil.copy(root.parent / "a.csv", root / "inside.csv")
    llmwright.prepare(source=str(root / "inside.csv"), project=root)
    with (root / "inside.csv").open("a", encoding="utf-8") as file:
        file.write("\nanother text,a")
    with pytest.raises(InputError) as caught:
        llmwright.reproduce(lock_file(root, "prepare"), project=root)
    assert caught.value.code == "CORE-122"
    assert "inside.csv" in caught.value.message
    with pytest.raises(ConfigError) as known:
        llmwright.reproduce("trian", project=root)
    assert known.value.code == "CORE-123"
    assert '"train"' in known.value.message


def test_another_file_outside_of_the_project_is_not_guessed(root: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    with pytest.raises(InputError) as caught:
        llmwright.reproduce(lock_file(root, "prepare"), project=stranger)
    assert caught.value.code == "CORE-122"
    assert "a.csv" in caught.value.message


def test_paths_within_lists_are_put_back_or_left_out(root: Path, tmp_path: Path) -> None:
    """Trackers may lie outside the project; on another machine there are none."""
    path = lock_file(root, "train")
    lock, _ = locks.read(path)
    index = open_project(root).index
    row = index.runs(step="train")[0]
    sinks = [{"kind": "tensorboard", "folder": str(tmp_path / "curves")}]
    lock["config"]["sinks"] = [{"kind": "tensorboard", "folder": f"{locks.OUTSIDE}/curves"}]
    config = {**row.config, "sinks": sinks}
    index.begin_run(dataclasses.replace(row, config=config), {})
    index.finish_run(row.id, "finished", row.artifact)
    again = reproduction.prepare(open_project(root), lock, True)
    assert again.config.model_dump(mode="json")["sinks"] == sinks
    elsewhere = {**lock, "run": "20260101-000000-train-0000"}
    again = reproduction.prepare(open_project(root), elsewhere, True)
    assert again.config.model_dump(mode="json")["sinks"] == []


def test_a_prompt_that_looks_like_a_path_is_none(root: Path) -> None:
    values = {
        "sample_prompts": ["/help", "../up", "~"],
        "sinks": [{"kind": "wandb", "folder": "../curves"}],
        "model": {"kind": "hub", "name": "/elsewhere/model"},
    }
    kept = locks.without_private(TrainConfig.model_validate(values), root)
    assert kept["sample_prompts"] == values["sample_prompts"]
    assert kept["sinks"][0]["folder"] == f"{locks.OUTSIDE}/curves"
    assert kept["model"]["name"] == f"{locks.OUTSIDE}/model"


def test_a_file_that_is_no_lock(root: Path) -> None:
    (root / "run.lock.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        llmwright.reproduce(root / "run.lock.json", project=root)
    assert caught.value.code == "CORE-120"
    lock = files.read_json(lock_file(root, "train"))
    lock.pop("result")
    locks.write(root, lock)
    with pytest.raises(InputError) as caught:
        llmwright.reproduce(root / "run.lock.json", project=root)
    assert caught.value.code == "CORE-124"


def test_same_content_has_one_id_whatever_the_lock_says(root: Path) -> None:
    report = llmwright.reproduce("train", project=root)
    assert isinstance(report, Artifact)
    models = [a for a in open_project(root).store.list() if a.kind == "model"]
    assert len(models) == 1
