"""Models without a contract answer as their own files say, everywhere a model is asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import llmwright
from llmwright.cli.main import cli
from llmwright.core.events import Notice
from llmwright.inference.predictor import Predictor
from llmwright.tasks.contract import CONTRACT_FILE

Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]


def bare(saved: Saved, name: str, folder: Path) -> Path:
    found = Path(shutil.copytree(saved(name), folder / name))
    (found / CONTRACT_FILE).unlink()
    return found


@pytest.mark.parametrize(
    "name", ["classifier", "tagger", "filler", "decoder", "seq2seq", "embedder"]
)
def test_answers_are_those_under_a_contract(
    name: str, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    published = Predictor.open(bare(saved, name, tmp_path))
    trained = Predictor.open(saved(name))
    assert published.contract.task == trained.contract.task
    assert len(published.notes) >= 1
    rows, more = rows_of(name)[:3], {"max_new_tokens": 6} if trained.task.generates else {}
    found, expected = published.predict(rows, **more), trained.predict(rows, **more)
    for one, two in zip(found, expected, strict=True):
        if name == "tagger":
            # Without names in its config, its tags are LABEL_0 and on.
            one["tags"] = [trained.contract.labels[int(t[-1])] for t in one["tags"]]
            one["scores"] = two["scores"]
        if name == "embedder":
            assert np.allclose(one["embedding"], two["embedding"], atol=1e-6)
        else:
            assert one == two
    assert not (published.folder / CONTRACT_FILE).exists()


def test_a_folder_is_asked_like_a_model_and_said_to_be_unverified(
    saved: Saved, tmp_path: Path
) -> None:
    folder = bare(saved, "classifier", tmp_path)
    said: list[Notice] = []
    (answer,) = llmwright.predict("rain", model=folder, project=tmp_path, consumers=[said.append])
    assert answer["label"] in ("cold", "rain", "sun")
    (note,) = [event for event in said if event.level == "warning"]
    assert "nothing is verified" in note.text
    made = llmwright.embed(["rain", "sun"], model=folder, project=tmp_path)
    assert made.shape == (2, 32)
    run = CliRunner().invoke(cli, ["predict", "rain", "--model", str(folder)])
    assert run.exit_code == 0, run.output
    assert "nothing is verified" in run.stderr
    assert "nothing is verified" not in run.stdout
