"""A search as a whole: the best trial's model is kept, and it is the very model of its settings."""

from __future__ import annotations

import json

import pytest
import yaml

import llmwright
from llmwright.core.artifacts import Artifact, Store, read_manifest
from llmwright.core.config import parse
from llmwright.core.errors import CheckError, ConfigError
from llmwright.core.events import Notice
from llmwright.tuning.config import TuneConfig
from llmwright.tuning.space import grid


def record(study: Artifact) -> dict:
    return json.loads((study.path / "study.json").read_text())


def models(project) -> list[str]:
    return [one.id for one in Store(project / ".llmwright").list() if one.kind == "model"]


def test_the_best_model_is_kept_and_is_that_of_its_settings(tune, project) -> None:
    events = []
    study = tune(sampler="grid", consumers=[events.append])
    assert study.kind == "study"
    found = record(study)
    assert [trial["state"] for trial in found["trials"]] == ["complete", "complete"]
    best = found["trials"][found["best"] - 1]
    assert best["values"] == {"train.lr": 0.02}
    assert best["value"] > 0.9 > min(trial["value"] for trial in found["trials"])
    for trial in found["trials"]:
        assert trial["config"]["lr"] == trial["values"]["train.lr"]
        assert trial["metrics"]["accuracy"] == trial["value"]
        assert len(trial["evaluations"]) == 5
    assert [seconds > 0 for seconds in study.metadata["trial_seconds"]] == [True, True]
    # The losers' weights are on no disk.
    assert models(project) == [study.metadata["model"]]
    weights = list((project / ".llmwright").rglob("model.safetensors"))
    assert len(weights) == 1
    # It predicts, and training its settings makes the same bytes.
    assert llmwright.predict("sun day a", project=project)[0]["label"] == "warm"
    settings = yaml.safe_load((study.path / "best.yaml").read_text())["train"]
    assert llmwright.train(**settings, project=project).id == study.metadata["model"]
    # The model says that it comes of that training, which alone is what is done again.
    origin = read_manifest(Store(project / ".llmwright").find(study.metadata["model"]))["origin"]
    assert (origin["operation"], origin["config"]["lr"]) == ("train", 0.02)
    assert set(origin["inputs"]) == {"dataset", "tokenizer"}
    report = llmwright.reproduce(study.metadata["model"], project=project)
    body = report.metadata["reproduction"]
    assert (body["operation"], body["equal"]) == ("train", True)
    assert {"weights", "loss"} <= {finding["name"] for finding in body["findings"]}
    said = [event.text for event in events if isinstance(event, Notice)]
    assert any(text.startswith("2/2: trial 2 accuracy") and "best" in text for text in said)
    # Nothing changed: nothing is done again; unless the model is gone.
    again = []
    assert tune(sampler="grid", consumers=[again.append]) == study
    assert len(again) == 2


def test_what_cannot_be_judged_is_refused_before_training(tune, project, tmp_path) -> None:
    split = {"validation": 0, "test": 0.2}
    llmwright.prepare(source="d.csv", split=split, project=project)
    with pytest.raises(ConfigError) as caught:
        tune()
    assert caught.value.code == "TUNE-009"
    assert "median" in caught.value.message
    assert models(project) == []


def test_trials_that_all_fail_end_the_search(tune, project) -> None:
    space = {"train.model.num_heads": {"choices": [3, 5, 7, 9, 11]}}
    with pytest.raises(CheckError) as caught:
        tune(space=space, sampler="grid")
    assert caught.value.code == "TUNE-011"
    assert caught.value.values["count"] == 3
    assert "num_heads" in caught.value.message


@pytest.mark.slow
def test_a_trial_that_fails_does_not_end_the_search(tune, project) -> None:
    space = {"train.model.num_heads": {"choices": [3, 2]}}
    found = record(tune(space=space, sampler="grid"))
    states = {trial["values"]["train.model.num_heads"]: trial for trial in found["trials"]}
    assert states[2]["state"] == "complete"
    assert states[3]["state"] == "failed"
    assert "num_heads" in states[3]["error"]


@pytest.mark.slow
def test_bad_trials_are_pruned_while_they_train(tune) -> None:
    good, bad = [0.01, 0.011, 0.012], [1e-6, 1e-7]
    space = {"train.lr": {"choices": [*good, *bad]}}
    values = {"space": space, "sampler": "grid", "train": {"selection": "loss"}}
    made = parse(TuneConfig, {"space": space}, "tune").space
    # An order in which the pruner sees what good trials are like before it sees the bad ones.
    order = [str(rate) for rate in (*good, *bad)]
    values["seed"] = next(
        seed for seed in range(999) if [p["train.lr"] for p in grid(made, seed)] == order
    )
    study = tune(**values, pruner={"kind": "median", "num_startup": 3})
    found = record(study)
    states = {trial["values"]["train.lr"]: trial for trial in found["trials"]}
    for rate in bad:
        assert states[rate]["state"] == "pruned"
        assert len(states[rate]["evaluations"]) == 2
    assert all(states[rate]["state"] == "complete" for rate in good)
    assert 'class="pruned"' in (study.path / "study.html").read_text()
    whole = tune(**values, pruner="none")
    assert whole.metadata["trials"] == {"complete": 5, "pruned": 0, "failed": 0}
    assert whole.metadata["model"] == study.metadata["model"]


@pytest.mark.slow
def test_cross_validation_judges_by_folds_and_trains_on_all(tune, project) -> None:
    study = tune(sampler="grid", num_folds=2)
    found = record(study)
    for trial in found["trials"]:
        assert len(trial["folds"]) == 2
        assert trial["value"] == pytest.approx(sum(trial["folds"]) / 2)
        assert sorted(trial["evaluations"]) == ["1", "2"]
    values = [trial["value"] for trial in found["trials"]]
    assert values[found["best"] - 1] == max(values)
    settings = yaml.safe_load((study.path / "best.yaml").read_text())["train"]
    assert llmwright.train(**settings, project=project).id == study.metadata["model"]
    again = llmwright.reproduce(study.metadata["model"], project=project)
    assert again.metadata["reproduction"]["operation"] == "train"
    assert again.metadata["passed"]
    assert len(list((project / ".llmwright").rglob("model.safetensors"))) == 1


@pytest.mark.slow
def test_parallel_trials_are_the_same_trials(tune, project) -> None:
    space = {"train.lr": {"choices": [1e-5, 0.005, 0.02]}}
    one = record(tune(space=space, sampler="grid"))
    two = record(tune(space=space, sampler="grid", num_parallel=2))

    def by_values(found):
        return {str(trial["values"]): trial["value"] for trial in found["trials"]}

    assert by_values(two) == by_values(one)
    assert two["model"] == one["model"]


@pytest.mark.slow
def test_evaluate_takes_the_best_model_in_a_project(tune, project, write) -> None:
    write(sampler="grid")
    made = llmwright.run(project)
    assert list(made) == ["prepare", "tokenize", "tune", "evaluate"]
    model = made["tune"].metadata["model"]
    assert made["evaluate"].metadata["model"] == model
    assert llmwright.evaluate(model="tune", project=project).metadata["model"] == model
    assert all(one == made[name] for name, one in llmwright.run(project).items())
    # A study without its model is made again.
    Store(project / ".llmwright").remove(project / ".llmwright" / "artifacts" / "model" / model)
    assert llmwright.run(project)["tune"].metadata["model"] == model


@pytest.mark.slow
def test_sinks_keep_the_curves_of_every_trial(tune, project) -> None:
    pytest.importorskip("tensorboard")
    tune(sampler="grid", train={"sinks": ["tensorboard"]})
    folders = (project / ".llmwright" / "runs").glob("*-tune-*/tensorboard/*")
    assert sorted(folder.name.partition("-trial-")[2] for folder in folders) == ["1", "2"]


@pytest.mark.slow
def test_sinks_keep_the_curves_of_every_fold_and_of_the_final_training(tune, project) -> None:
    pytest.importorskip("tensorboard")
    space = {"train.lr": {"choices": [0.01, 0.02]}}
    tune(space=space, num_trials=1, num_folds=2, train={"sinks": ["tensorboard"]})
    folders = (project / ".llmwright" / "runs").glob("*-tune-*/tensorboard/*")
    names = sorted(folder.name.partition("-tune-")[2].partition("-")[2] for folder in folders)
    assert names == ["final", "trial-1-fold-1", "trial-1-fold-2"]
