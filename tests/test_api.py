"""The Python API takes what Python has: artifacts, paths, mappings."""

from __future__ import annotations

from pathlib import Path

import pytest

import llmwright
from llmwright.core.errors import InputError


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
        with pytest.raises(InputError) as caught:
            llmwright.evaluate(model=reference)
        assert caught.value.code == "CORE-063"
        with pytest.raises(InputError) as caught:
            llmwright.train(dataset=newest, model={"kind": "step", "name": reference})
        assert caught.value.code == "CORE-063"


def test_a_run_obeys_the_environment_as_the_command_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "llmwright.yaml").write_text("prepare: {source: a.csv, max_rows: 20}\n")
    monkeypatch.setenv("LLMWRIGHT_PREPARE__MAX_ROWS", "40")
    made = llmwright.run()["prepare"]
    assert sum(made.metadata["counts"].values()) == 40
    made = llmwright.run(overrides={"prepare.max_rows": 50})["prepare"]
    assert sum(made.metadata["counts"].values()) == 50
