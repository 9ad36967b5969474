"""The example project: its plugins keep every contract and work through CLI, YAML and Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from help_desk import PLUGINS, Command, body, command_in, copied

from llmwright.core.project import Project


def test_the_data_is_what_its_script_writes(example: Path) -> None:
    before = (example / "data" / "messages.csv").read_bytes()
    (example / "data" / "messages.csv").unlink()
    subprocess.run([sys.executable, "make_data.py"], cwd=example, check=True)
    assert (example / "data" / "messages.csv").read_bytes() == before


def test_the_cleaner_passes_the_suite(loaded: Project) -> None:
    from llmwright.data.config import CLEANERS
    from llmwright.testing.cleaner import check_cleaner

    cleaner = CLEANERS.get("ticket_numbers")
    assert CLEANERS.origin("ticket_numbers") == "plugins/ticket_numbers.py"
    for word in ("ticket", ""):
        check_cleaner(cleaner(word=word), idempotent=True)
    assert cleaner().clean("[#123] and #9 but #x") == "ticket and ticket but #x"


def test_the_metric_passes_the_suite(loaded: Project) -> None:
    from llmwright.evaluation.config import METRICS
    from llmwright.testing.metric import check_metric

    metric = METRICS.get("outages_found")
    check_metric("outages_found", metric)
    assert metric(["outage", "login", "login"], ["outage", "outage", "login"]) == 0.5


def test_the_model_passes_the_suite(loaded: Project) -> None:
    import torch

    from llmwright.models.config import ARCHITECTURES
    from llmwright.testing.architecture import check_architecture

    torch.set_num_threads(1)
    check_architecture(ARCHITECTURES.get("bag")())


def test_nothing_runs_before_consent(example: Path, llmwright: Command) -> None:
    refused = llmwright("run", "--json")
    assert refused.returncode == 2
    assert body(refused)["error"]["code"] == "CORE-071"
    assert llmwright("plugins", "trust", "plugins/bag_of_embeddings.py").returncode == 0
    assert "outages_found.py" in body(llmwright("run", "--json"))["error"]["message"]
    assert not (example / ".llmwright").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """Root, folder of consent and answer of a whole run through the command line."""
    folder = tmp_path_factory.mktemp("finished")
    root, home = copied(folder / "help-desk"), folder / "consent"
    llmwright = command_in(root, home)
    for name in PLUGINS:
        assert llmwright("plugins", "trust", f"plugins/{name}").returncode == 0
    done = llmwright("run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return root, home, body(done)


@pytest.mark.slow
def test_the_project_file_runs_with_the_plugins(finished: tuple[Path, Path, Any]) -> None:
    root, _, answer = finished
    steps = {step["step"]: step["artifact"] for step in answer["steps"]}
    assert list(steps) == ["prepare", "tokenize", "train", "evaluate", "export"]
    config = Path(steps["train"]["path"]) / "config.json"
    assert '"bag_of_embeddings"' in config.read_text()
    assert "outages_found" in (Path(steps["evaluate"]["path"]) / "report.json").read_text()
    contract = (Path(steps["export"]["path"]) / "contract.json").read_text()
    assert "ticket_numbers" in contract


@pytest.mark.slow
@pytest.mark.parametrize("step", ["train", "export"])
def test_the_cleaner_also_runs_at_inference(
    finished: tuple[Path, Path, Any], step: str, tmp_path: Path
) -> None:
    root, home, _ = finished
    texts = ("[#12345] nothing loads", "ticket nothing loads", "nothing loads")
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"message": text}) + "\n" for text in texts))
    words = ("predict", "--file", str(source), "--out", str(out), "--model", step)
    done = command_in(root, home)(*words)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line)["answer"] for line in out.read_text().splitlines()]
    assert [one["label"] for one in said] == ["outage"] * 3
    assert said[0]["scores"] == said[1]["scores"] != said[2]["scores"]


@pytest.mark.slow
def test_what_is_registered_and_an_edit(finished: tuple[Path, Path, Any]) -> None:
    root, home, _ = finished
    llmwright = command_in(root, home)
    shown = body(llmwright("plugins", "--json"))
    assert [Path(file["path"]).name for file in shown["files"]] == sorted(PLUGINS)
    assert shown["registered"]["cleaner"]["ticket_numbers"] == "plugins/ticket_numbers.py"
    assert shown["registered"]["architecture"]["bag"] == "plugins/bag_of_embeddings.py"
    edited = root / "plugins" / "ticket_numbers.py"
    before = edited.read_text()
    edited.write_text(before + "\n# edited\n")
    refused = body(llmwright("run", "--json"))["error"]
    assert refused["code"] == "CORE-071"
    assert "ticket_numbers.py" in refused["message"]
    edited.write_text(before)


@pytest.mark.slow
def test_python_takes_the_same_plugins(
    finished: tuple[Path, Path, Any], monkeypatch: pytest.MonkeyPatch, loaded: Project
) -> None:
    import llmwright

    root, home, answer = finished
    monkeypatch.setenv("LLMWRIGHT_HOME", str(home))
    again = llmwright.run(root)  # nothing changed, so nothing runs
    assert {step: made.id for step, made in again.items()} == {
        step["step"]: step["artifact"]["id"] for step in answer["steps"]
    }
    (found,) = llmwright.predict(["the site is down"], project=root)
    assert found["label"] == "outage"


@pytest.mark.slow
def test_without_its_plugins_a_model_is_refused_in_words(
    finished: tuple[Path, Path, Any], tmp_path: Path
) -> None:
    _, home, answer = finished
    steps = {step["step"]: step["artifact"]["path"] for step in answer["steps"]}
    elsewhere = command_in(tmp_path, home)
    for step, code in (("train", "MODEL-014"), ("export", "CORE-011")):
        done = elsewhere("predict", "hello", "--model", steps[step], "--json")
        assert done.returncode in (1, 2)
        assert body(done)["error"]["code"] == code
