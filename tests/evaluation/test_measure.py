from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from llmwright.core import registry
from llmwright.core.errors import InputError
from llmwright.evaluation import breakdown, measure
from llmwright.evaluation.config import METRICS, EvaluateConfig
from llmwright.evaluation.outcomes import Outcomes
from llmwright.evaluation.report import Report

MakeReport = Callable[[EvaluateConfig], Report]


def test_the_tasks_metrics_are_the_default_and_the_gates_are_added(report: MakeReport) -> None:
    found = report(EvaluateConfig(gate={"f1_weighted": ">= 0.99", "accuracy": ">= 0.5"}))
    assert [figure.name for figure in found.figures] == ["accuracy", "f1_macro", "f1_weighted"]
    assert [verdict.passed for verdict in found.verdicts] == [False, True]
    assert not found.passed


def test_figures_have_values_intervals_and_signatures(report: MakeReport) -> None:
    accuracy = report(EvaluateConfig()).figures[0]
    assert accuracy.value == pytest.approx(0.7)
    assert accuracy.low < 0.7 < accuracy.high
    assert "scikit-learn" in accuracy.signature


def test_the_same_seed_gives_the_same_report(report: MakeReport) -> None:
    assert report(EvaluateConfig()).to_json() == report(EvaluateConfig()).to_json()


def test_no_bootstrap_no_intervals(report: MakeReport) -> None:
    found = report(EvaluateConfig(num_bootstrap=0))
    assert all(figure.low is None for figure in found.figures)
    assert all(figures.low is None for figures in found.classes)


def test_notes_name_labels_that_are_absent_or_never_predicted(report: MakeReport) -> None:
    texts = [note.text("en") for note in report(EvaluateConfig()).notes]
    assert any("1 of the model's 4 labels" in text and "yak" in text for text in texts)
    assert any("never predicted" in text and "owl" in text for text in texts)
    assert all(note.text("zh") != note.text("en") for note in report(EvaluateConfig()).notes)


@pytest.mark.parametrize(
    ("references", "missed"),
    [
        ([["B-PER", "I-PER", "O"], ["O", "B-LOC", "O"]], "LOC, PER"),
        ([["O", "NOUN", "O"], ["O", "O", "VERB"]], "NOUN, VERB"),
    ],
)
def test_a_tagger_that_finds_nothing_is_told_of(references: list[list[str]], missed: str) -> None:
    (note,) = measure.label_notes(Outcomes("tags", [["O"] * 3, ["O"] * 3], references))
    assert (note.values["count"], note.values["labels"]) == (2, missed)
    assert not measure.label_notes(Outcomes("tags", references, references))


def test_breakdowns_computed_by_hand(report: MakeReport) -> None:
    found = report(EvaluateConfig())
    assert found.confusion.counts == [[5, 1, 0, 0], [1, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    # Equally frequent confusions: the larger share of the reference's rows comes first.
    first = found.mixups[0]
    assert (first.reference, first.prediction, first.count, first.share) == ("owl", "cat", 1, 1.0)
    cat = found.classes[0]
    assert (cat.precision, cat.recall, cat.support, cat.predicted) == (5 / 7, 5 / 6, 6, 7)
    assert cat.low < cat.f1 < cat.high
    assert {curve.label for curve in found.roc} == {"cat", "dog", "owl"}
    assert [(b.low, b.num_rows, b.mean_y) for b in found.calibration] == [
        (pytest.approx(0.7), 10, pytest.approx(0.7))
    ]


def test_lengths_hold_about_as_many_rows_each() -> None:
    bins = breakdown.by_length(list(range(1, 61)), [1.0] * 30 + [0.0] * 30)
    assert [b.num_rows for b in bins] == [10, 10, 9, 10, 10, 11]
    assert [b.mean_y for b in bins] == pytest.approx([1, 1, 1, 0.1, 0, 0])


def test_report_is_json_without_nan(report: MakeReport) -> None:
    text = json.dumps(report(EvaluateConfig()).to_json(), allow_nan=False)
    assert json.loads(text)["passed"] is True


def test_a_suggested_metric_that_does_not_apply_is_left_out_with_a_note(pets: Outcomes) -> None:
    chosen = measure.choose(EvaluateConfig(), ["accuracy", "bleu"])
    metrics, notes = measure.applicable(chosen, pets)
    assert [metric.name for metric in metrics] == ["accuracy"]
    assert "bleu is left out" in notes[0].text("en")


def test_an_asked_metric_that_does_not_apply_is_an_error_with_choices(pets: Outcomes) -> None:
    chosen = measure.choose(EvaluateConfig(metrics=["bleu"]), ["accuracy"])
    with pytest.raises(InputError, match="EVAL-005") as caught:
        measure.applicable(chosen, pets)
    assert "accuracy" in caught.value.fix
    assert "rouge1" not in caught.value.fix


@pytest.fixture
def plugin_metrics():
    def share_of_cats(predictions: list[str], references: list[str]) -> float:
        return predictions.count("cat") / len(predictions)

    def broken(predictions: list[str], references: list[str]) -> float:
        return 1 / 0

    def cats_per_owl(predictions: list[str], references: list[str]) -> float:
        return predictions.count("cat") / references.count("owl")

    added = {"share_of_cats": share_of_cats, "broken": broken, "cats_per_owl": cats_per_owl}
    for name, function in added.items():
        registry.register("metric", name, function)
    yield
    for name in added:
        METRICS._entries.pop(name)


@pytest.mark.usefixtures("plugin_metrics")
def test_a_plugin_function_gets_value_interval_gate_and_a_note_on_resamples(
    report: MakeReport,
) -> None:
    found = report(EvaluateConfig(metrics=["share_of_cats"], gate={"share_of_cats": "> 0.5"}))
    figure = found.figures[0]
    assert figure.value == pytest.approx(0.7)
    assert figure.low < 0.7 < figure.high
    assert found.passed
    assert any("100 resamples instead of 1000" in note.text("en") for note in found.notes)


@pytest.mark.usefixtures("plugin_metrics")
def test_a_plugin_function_that_fails_is_named(report: MakeReport) -> None:
    with pytest.raises(InputError, match="EVAL-010.*broken.*ZeroDivisionError"):
        report(EvaluateConfig(metrics=["broken"]))


@pytest.mark.usefixtures("plugin_metrics")
def test_resamples_that_a_plugin_function_fails_on_are_said(report: MakeReport) -> None:
    found = report(EvaluateConfig(metrics=["cats_per_owl"]))
    figure = found.figures[0]
    assert figure.value == 7.0
    failed = 100 - figure.num_resamples
    assert 10 < failed < 90
    said = [note.text("en") for note in found.notes]
    assert any(f"cats_per_owl failed on {failed} resamples" in text for text in said)


def test_one_label_per_row_needs_no_matrix_of_rows_and_labels(
    report: MakeReport, pets: Outcomes
) -> None:
    report(EvaluateConfig(metrics=["accuracy", "f1_macro", "f1_micro", "roc_auc", "pr_auc"]))
    made = set(vars(pets))
    assert {"truth_N", "answer_N"} <= made
    assert not {"truth_NC", "answer_NC"} & made
