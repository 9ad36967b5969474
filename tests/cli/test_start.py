"""init writes projects that run, and never over one that is there."""

from __future__ import annotations

import json
import shutil
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


@pytest.mark.parametrize(
    ("name", "line", "task"),
    [
        ("poem.txt", "the {n}th line of a poem about nothing but lines\n", "text-generation"),
        ("pairs.tsv", "what is {n} and {n}?\tthe sum of them, doubled {n}\n", "seq2seq"),
        ("named.csv", "words {n} of a text,{label}\n", "text-classification"),
    ],
)
def test_what_init_writes_fits_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: str, task: str
) -> None:
    monkeypatch.chdir(tmp_path)
    heading = "" if name != "named.csv" else "text,label\n"
    text = heading + "".join(line.format(n=n, label="ab"[n % 2]) for n in range(60))
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert invoke(["init", "p", "--data", name]) == 0
    written = (tmp_path / "p" / "llmwright.yaml").read_text(encoding="utf-8")
    assert f"# task: {task} " in written
    assert ("columns" in yaml.safe_load(written)["prepare"]) == (task == "seq2seq")
    project = Project.find(OPERATIONS, tmp_path / "p")
    (made,) = pipeline.run_project(project, OPERATIONS, only=["prepare"])
    assert made.artifact is not None
    assert made.artifact.metadata["task"] == task


@pytest.mark.parametrize(
    ("line", "kind"), [("第{n}天下雨了，记得带 umbrella", "char"), ("day {n} was wet, 雨", "bpe")]
)
def test_init_takes_characters_for_chinese(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{line.format(n=n)}\t{'ab'[n % 2]}" for n in range(60)]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "\n".join(rows), encoding="utf-8")
    assert invoke(["init", "p", "--data", "a.tsv"]) == 0
    written = (tmp_path / "p" / "llmwright.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(written)["tokenize"]["kind"] == kind


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


def test_a_recipe_replaces_none_of_ones_own_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    (tmp_path / "other.txt").write_text("mine too", encoding="utf-8")
    assert invoke(["init", str(tmp_path), "--recipe", "weather"]) == 2
    said = capsys.readouterr().err
    assert "RECIPE-004" in said
    assert "README.md" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "other.txt"]
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"


def test_an_interrupted_copy_is_no_project_and_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = shipped.find("weather")
    copyfile, seen = shutil.copyfile, []

    def stop_at_the_fourth(source: Path, target: Path) -> None:
        seen.append(source)
        copyfile(source, target)
        if len(seen) == 4:
            target.write_bytes(target.read_bytes()[:10])
            raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(shutil, "copyfile", stop_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            shipped.copy(recipe, tmp_path)
    assert not (tmp_path / "llmwright.yaml").exists()
    for path in tmp_path.rglob("*.*"):
        assert path.read_bytes() == (recipe.folder / path.relative_to(tmp_path)).read_bytes()
    assert shipped.copy(recipe, tmp_path).is_file()
    assert shipped.is_project_of(recipe, tmp_path)
    assert not (tmp_path / "recipe.yaml").exists()


def test_a_project_that_builds_on_a_recipe_runs_on_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llmwright.yaml").write_text("recipe: weather\nprepare: {max_rows: 40}\n")
    assert invoke(["run", "--only", "prepare", "--json"]) == 0
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    assert step["artifact"]["metadata"]["task"] == "seq2seq"


def test_a_long_path_with_spaces_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = Path(" ".join(["many words"] * 12)) / "a: b.csv"
    data.parent.mkdir()
    data.touch()
    for language in ("en", "zh"):
        monkeypatch.setenv("LLMWRIGHT_LANG", language)
        assert invoke(["init", language, "--data", str(data)]) == 0
        text = (tmp_path / language / "llmwright.yaml").read_text(encoding="utf-8")
        assert yaml.safe_load(text)["prepare"]["source"] == f"../{data.as_posix()}"
        assert "source：" not in text
        assert "name：" not in text


def test_an_unknown_task_names_the_closest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["init", str(tmp_path / "x"), "--task", "text-clasification"]) == 2
    assert 'Did you mean "text-classification"?' in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
