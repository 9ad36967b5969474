"""The page of a study: everything in one file, in two languages, with every trial."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from llmwright.tuning.page.charts import Axis, setting_axis
from llmwright.tuning.page.document import build_page
from llmwright.tuning.record import StudyRecord, TrialRecord
from llmwright.tuning.trial import Goal

SPACE = {
    "train.lr": {"log": [1e-4, 1e-2]},
    "train.optimizer": {"choices": ["adamw", {"kind": "sgd", "momentum": 0.5}]},
    "train.batch_size": {"int": [8, 64]},
}


def trial(number, value, state="complete", **more):
    values = {
        "train.lr": 1e-4 * number,
        "train.optimizer": SPACE["train.optimizer"]["choices"][number % 2],
        "train.batch_size": 8 + number,
    }
    metrics = {"loss": value, "step": 3.0} if state == "complete" else {}
    given = {"folds": [], "evaluations": {1: value}, "error": "", **more}
    return TrialRecord(number, state, value, values, {"lr": 1}, metrics, **given)


def record(trials, **values):
    given = {
        "goal": Goal("loss", "minimize"),
        "sampler": {"kind": "tpe"},
        "pruner": {"kind": "median"},
        "seed": 1,
        "num_folds": None,
        "space": SPACE,
        "best": 2,
        "model": "abc",
        "importances": {"train.lr": 0.7, "train.optimizer": 0.3},
        **values,
    }
    return StudyRecord(trials=trials, **given)


TRIALS = [
    trial(1, 0.5),
    trial(2, 0.2, folds=[0.1, 0.3]),
    trial(3, 0.9, "pruned"),
    trial(4, None, "failed", error="<NaN> & more"),
    trial(5, 0.4),
]


def pictures(page: str) -> list[ET.Element]:
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_it_stands_alone_and_shows_all_trials() -> None:
    page = build_page(record(TRIALS), "en")
    assert not re.findall(r'(?:src|href)="|url\(|@import', page)
    history, importances, parallel = pictures(page)
    dots = [circle.get("class") for circle in history.iter("circle")]
    assert dots == ["complete", "best", "pruned", "complete"]
    assert len(list(importances.iter("rect"))) == 2
    lines = [path.get("class") for path in parallel.iter("path")]
    assert sorted(lines) == ["trial", "trial", "trial best"]
    assert lines[-1] == "trial best"
    assert "&lt;NaN&gt; &amp; more" in page
    assert "{kind: sgd, momentum: 0.5}" in page
    assert 'lang="zh"' in page
    assert "0.100 · 0.300" in page


def test_all_coordinates_lie_in_the_picture() -> None:
    for picture in pictures(build_page(record(TRIALS), "en")):
        _, _, width, height = map(float, picture.get("viewBox").split())
        for path in picture.iter("path"):
            numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", path.get("d"))]
            assert all(0 <= x <= width for x in numbers[::2])
            assert all(0 <= y <= height for y in numbers[1::2])


def test_a_single_trial_makes_a_page_too() -> None:
    page = build_page(record(TRIALS[:1], best=1, importances={}), "zh")
    assert len(pictures(page)) == 2
    assert "无法判断" in page


@pytest.mark.parametrize(
    ("domain", "value", "share"),
    [
        ({"float": [0.0, 2.0]}, 0.5, 0.25),
        ({"log": [1e-4, 1e-2]}, 1e-3, 0.5),
        ({"int": [0, 10]}, 10, 1.0),
        ({"choices": ["a", "b"]}, "b", 0.75),
    ],
)
def test_axes_are_as_long_as_the_space(domain, value, share) -> None:
    axis = setting_axis("train.x", domain)
    assert axis.share(value) == pytest.approx(share)
    assert all(0 <= place <= 1 for place, _ in axis.ticks())


def test_an_axis_of_one_value_has_one_mark() -> None:
    assert Axis("loss", 0.5, 0.5).ticks() == [(0.5, "0.5")]
