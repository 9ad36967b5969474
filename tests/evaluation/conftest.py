"""Ten pets and a report on them, shared by the tests of figures and page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from llmwright.evaluation import measure
from llmwright.evaluation.config import EvaluateConfig
from llmwright.evaluation.outcomes import Outcomes
from llmwright.evaluation.report import Report, ScoredRow

MakeReport = Callable[[EvaluateConfig], Report]


@pytest.fixture
def pets() -> Outcomes:
    truth = ["cat"] * 6 + ["dog"] * 3 + ["owl"]
    answers = ["cat"] * 5 + ["dog"] + ["dog", "dog", "cat"] + ["cat"]
    labels = ("cat", "dog", "owl", "yak")
    scores_NC = np.full((10, 4), 0.1)
    for n, answer in enumerate(answers):
        scores_NC[n, labels.index(answer)] = 0.7
    return Outcomes("label", answers, truth, labels=labels, scores_NC=scores_NC)


@pytest.fixture
def pet_rows(pets: Outcomes) -> list[ScoredRow]:
    pairs = zip(pets.references, pets.predictions, strict=True)
    return [
        ScoredRow("pets.csv", n + 1, "x" * (n + 1), t, p, t == p, float(t == p), 0.7)
        for n, (t, p) in enumerate(pairs)
    ]


@pytest.fixture
def report(pets: Outcomes, pet_rows: list[ScoredRow]) -> MakeReport:
    def make(config: EvaluateConfig) -> Report:
        chosen = measure.choose(config, ["accuracy", "f1_macro"])
        metrics, notes = measure.applicable(chosen, pets)
        figures, remarks = measure.figures(metrics, pets, config, lambda done: None)
        return Report(
            model={"id": "m1", "task": "text-classification", "num_parameters": 1234},
            dataset={"id": "d1"},
            split="test",
            num_rows=10,
            num_scored=10,
            settings=config.model_dump(mode="json"),
            figures=figures,
            verdicts=measure.verdicts(config, figures),
            notes=[*notes, *remarks, *measure.label_notes(pets)],
            **measure.breakdowns(pets, pet_rows, config),
        )

    return make
