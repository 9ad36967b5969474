"""init writes projects that run, and never over one that is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from llmwright.cli.main import invoke
from llmwright.core import pipeline
from llmwright.core.project import Project
from llmwright.operations import OPERATIONS
from llmwright.recipes import shipped


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["init", "--list", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["recipes"]) == set(shipped.recipes())


@pytest.mark.parametrize("name", sorted(shipped.recipes()))
def test_every_recipe_becomes_a_valid_project(name: str, tmp_path: Path) -> None:
    assert invoke(["init", str(tmp_path / "p"), "--recipe", name]) == 0
    project = Project.load(tmp_path / "p" / "llmwright.yaml", OPERATIONS)
    verbs = [section.verb for section, _ in pipeline.configs(project, OPERATIONS)]
    assert {"prepare", "tokenize", "train", "evaluate"} <= set(verbs)


def test_a_project_for_ones_own_data_runs_as_far_as_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"text number {n},{'abc'[n % 3]}" for n in range(60)]
    (tmp_path / "mine.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    assert invoke(["init", ".", "--data", "mine.csv", "--task", "text-classification"]) == 0
    values = yaml.safe_load((tmp_path / "llmwright.yaml").read_text(encoding="utf-8"))
    assert values["prepare"]["source"] == "mine.csv"
    capsys.readouterr()
    assert invoke(["run", "--only", "prepare", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["steps"][0]["artifact"]
    assert made["metadata"]["task"] == "text-classification"


def test_data_is_found_from_the_projects_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    rows = [f"text number {n},{'abc'[n % 3]}" for n in range(60)]
    (tmp_path / "raw" / "a.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    for folder, data in (("one", "raw/a.csv"), ("two", "raw/*.csv"), ("three", "raw")):
        assert invoke(["init", folder, "--data", data]) == 0
        assert invoke(["run", "--project", folder, "--only", "prepare", "--quiet"]) == 0
    capsys.readouterr()
    assert invoke(["init", "four", "--data", "raw/b.csv"]) == 2
    assert "RECIPE-003" in capsys.readouterr().err
    assert invoke(["init", "four", "--recipe", "weather", "--data", "raw/a.csv"]) == 2
    assert not (tmp_path / "four").exists()


def test_an_existing_project_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "llmwright.yaml").write_text("name: mine\n", encoding="utf-8")
    assert invoke(["init", str(tmp_path)]) == 2
    assert invoke(["init", str(tmp_path), "--recipe", "weather"]) == 2
    assert "RECIPE-001" in capsys.readouterr().err
    assert (tmp_path / "llmwright.yaml").read_text(encoding="utf-8") == "name: mine\n"


def test_an_unknown_recipe_names_the_closest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["init", str(tmp_path / "x"), "--recipe", "wether"]) == 2
    assert 'Did you mean "weather"?' in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_project_can_build_on_a_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "recipe: weather\ntrain: {max_steps: 3}\n"
    (tmp_path / "llmwright.yaml").write_text(text, encoding="utf-8")
    assert invoke(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"]["train"]["max_steps"] == 3
    assert shown["settings"]["tokenize"]["kind"] == "char"
    assert shown["origins"]["tokenize.kind"] == "recipe weather"
