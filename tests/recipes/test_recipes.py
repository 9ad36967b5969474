"""Each shipped recipe from its files to an answer over HTTP, in full: the gates hold its figures.

The project files carry the figures as gates, so `run` itself fails when one is not reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.project import Project
from llmwright.operations import OPERATIONS
from llmwright.recipes import shipped
from llmwright.recipes.demonstration import ask, serving

NAMES = sorted(shipped.recipes())
MUST_HAVE_GATE = {"weather", "intents", "shakespeare"}


def llmwright(folder: Path, *words: str) -> Any:
    """Run a command in a folder and return its JSON."""
    command = [sys.executable, "-m", "llmwright.cli", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_all_recipes_are_there() -> None:
    assert set(NAMES) >= {"weather", "intents", "shakespeare", "poems", "questions-vae"}


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_documented(name: str) -> None:
    recipe = shipped.find(name)
    for file in ("README.md", "README.zh-CN.md", "llmwright.yaml"):
        assert (recipe.folder / file).is_file(), file
    names = {path.stem for path in (recipe.folder / "data").iterdir()}
    assert names & {"LICENSE", "ATTRIBUTION"}, "no licence beside the data"
    assert recipe.summary
    assert recipe.request


@pytest.mark.recipe
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", NAMES)
def test_recipe_reaches_its_figures_and_answers(name: str, tmp_path: Path) -> None:
    recipe = shipped.find(name)
    project = Project.load(shipped.copy(recipe, tmp_path / name), OPERATIONS)
    steps = llmwright(project.root, "run")["steps"]
    made = {step["artifact"]["kind"]: step["artifact"] for step in steps}
    assert {"dataset", "tokenizer", "model", "report"} <= set(made)
    if name in MUST_HAVE_GATE:
        assert any(section.values.get("gate") for section in project.sections(OPERATIONS))
    for step in steps:
        parity = step["artifact"]["metadata"].get("parity", {"passed": True})
        assert parity["passed"]
    again = llmwright(project.root, "run")["steps"]
    assert all(step["reused"] for step in again if step["step"] != "verify")
    assert llmwright(project.root, "artifacts", "check")["checked"]
    served = made.get("export") or made["model"]
    with serving(project.root, served["id"]) as address:
        for body in [recipe.request, *recipe.more]:
            assert all(ask(address, body).values())
        verified = llmwright(project.root, "verify", address, "--model", made["model"]["id"])
    assert verified["steps"][0]["artifact"]["metadata"]["passed"]


@pytest.mark.recipe
@pytest.mark.timeout(600)
def test_demo_answers_the_promised_request(tmp_path: Path) -> None:
    shown = llmwright(tmp_path, "demo", "--folder", str(tmp_path / "demo"))
    assert shown["reply"] == {"weather": "今天天气晴朗"}
    assert "description=今天天气很好" in shown["command"]
    facts = {step["step"]: step["artifact"]["metadata"] for step in shown["steps"]}
    assert facts["evaluate"]["metrics"]["exact_match"] >= 0.9
    assert facts["export"]["parity"]["passed"]
    assert facts["verify-endpoint"]["parity"]["passed"]
