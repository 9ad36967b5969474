"""A search with a larger budget goes on from the one that is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import llmwright
from llmwright.core.artifacts import Store
from llmwright.core.events import Notice

SEARCH = {
    "space": {"train.lr": {"log": [1e-3, 0.05]}},
    "sampler": {"kind": "tpe", "num_startup": 1},
    "train": {"epochs": 2},
}


def told(tune, **values) -> tuple[str, str]:
    """Search; return the study's id and all that was said."""
    events: list = []
    study = tune(**{**SEARCH, **values}, consumers=[events.append])
    return study.id, "\n".join(event.text for event in events if isinstance(event, Notice))


def test_a_larger_budget_goes_on_and_ends_as_a_whole_search(tune, project, tmp_path) -> None:
    other = Path(shutil.copytree(project, tmp_path / "whole"))
    _, said = told(tune, num_trials=2)
    assert "begins anew" not in said
    found, said = told(tune, num_trials=3)
    assert "Going on from the search" in said
    assert "its 2 trials count" in said
    assert "3/3: trial 3" in said
    assert "/3: trial 2" not in said
    whole, said = told(tune, num_trials=3, project=other)
    assert "Going on" not in said
    assert found == whole
    # The model is the project's own, and there is one of each that was the best.
    store = Store(project / ".llmwright")
    assert store.is_whole(store.get(found))
    # Fewer are another search; so is another space, and that is said.
    _, said = told(tune, num_trials=1)
    assert "has 3 trials, more than num_trials allows" in said
    assert "1/1: trial 1" in said
    space = {"train.lr": {"log": [1e-3, 0.06]}}
    _, said = told(tune, num_trials=1, space=space)
    assert "0.05" in said
    assert "begins anew" in said
    assert "num_trials, max_minutes, num_parallel" in said


def test_without_its_model_a_search_begins_anew(tune, project) -> None:
    told(tune, num_trials=1)
    store = Store(project / ".llmwright")
    (model,) = [one for one in store.list() if one.kind == "model"]
    store.remove(model.path)
    _, said = told(tune, num_trials=2)
    assert "is gone" in said
    assert "1/2: trial 1" in said
    assert llmwright.predict("sun day a", project=project)
