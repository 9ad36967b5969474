"""Our figures equal those of the reference tools, recorded by others in ``metric_parity``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llmwright.evaluation.bootstrap import resamples
from llmwright.evaluation.metrics.matching import squad_exact_match, squad_f1
from llmwright.evaluation.metrics.overlap import Rouge
from llmwright.evaluation.metrics.tagging import (
    EntityMetric,
    seqeval_f1,
    seqeval_f1_macro,
    seqeval_f1_strict,
    seqeval_precision,
    seqeval_recall,
    token_accuracy,
)
from llmwright.evaluation.metrics.translation import Bleu, Chrf, bleu, chrf, chrf_plus_plus
from llmwright.evaluation.outcomes import Outcomes


@pytest.fixture(scope="module")
def parity(llmwright_data: Path) -> Path:
    return llmwright_data / "metric_parity"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def translation_outcomes(parity: Path, system: str) -> Outcomes:
    folder = parity / "wmt17_en_de"
    lines = [
        (folder / name).read_text(encoding="utf-8").splitlines()
        for name in (system, "reference.de.txt")
    ]
    return Outcomes("text", predictions=lines[0], references=lines[1])


@pytest.mark.parametrize(
    "system",
    [
        "LIUM-NMT.4900.en-de.txt",
        pytest.param("uedin-nmt.4722.en-de.txt", marks=pytest.mark.slow),
        pytest.param("online-G.0.en-de.txt", marks=pytest.mark.slow),
    ],
)
def test_bleu_and_chrf_of_wmt17_systems(parity: Path, system: str) -> None:
    outcomes = translation_outcomes(parity, system)
    expected = read(parity / "wmt17_en_de" / "scores.json")["scores"][system]
    assert bleu(outcomes) == pytest.approx(expected["bleu_13a"]["score"], abs=1e-6)
    assert chrf(outcomes) == pytest.approx(expected["chrf2"], abs=1e-6)
    assert "tok:13a" in bleu.signature(outcomes)
    # The row statistics behind the intervals give the same figure as the library.
    everything_RN = np.ones((1, len(outcomes)))
    assert bleu.resample(outcomes, everything_RN)[0] == pytest.approx(bleu(outcomes), abs=1e-9)
    assert chrf.resample(outcomes, everything_RN)[0] == pytest.approx(chrf(outcomes), abs=1e-9)


@pytest.mark.slow
def test_chrf_plus_plus_of_a_wmt17_system(parity: Path) -> None:
    system = "LIUM-NMT.4900.en-de.txt"
    expected = read(parity / "wmt17_en_de" / "scores.json")["scores"][system]["chrf2++"]
    outcomes = translation_outcomes(parity, system)
    assert chrf_plus_plus(outcomes) == pytest.approx(expected, abs=1e-6)


def test_bleu_and_chrf_of_sacrebleus_own_cases(parity: Path) -> None:
    ours = {"bleu": (Bleu(), {}), "chrf": (Chrf(), {"beta": 2})}
    compared = 0
    for case in read(parity / "sacrebleu_cases.json")["cases"]:
        metric, defaults = ours.get(case["metric"], (None, {}))
        if (
            case["level"] != "corpus"
            or metric is None
            or {**defaults, **case["params"]} != defaults
        ):
            continue
        references = [list(row) for row in zip(*case["references"], strict=True)]
        outcomes = Outcomes("text", predictions=case["hypotheses"], references=references)
        assert metric(outcomes) == pytest.approx(case["expected"], abs=case["tolerance"])
        compared += 1
    assert compared == 2


def test_rouge_of_the_perl_script_and_rouge_scores_own_cases(parity: Path) -> None:
    for case in read(parity / "rouge_cases.json")["cases"]:
        metric = Rouge(case["metric"], case["use_stemmer"])
        outcomes = Outcomes("text", [case["prediction"]], [case["target"]])
        assert metric(outcomes) == pytest.approx(case["fmeasure"], abs=6e-6)


def test_rouge_of_lead_baselines(parity: Path) -> None:
    lines = (parity / "rouge_lead_baseline.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    texts = [case["prediction"] for case in cases], [case["target"] for case in cases]
    outcomes = Outcomes("text", *texts)
    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        expected = [case["no_stemmer"][name][2] for case in cases]
        found = Rouge(name).row_values(outcomes)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert Rouge(name)(outcomes) == pytest.approx(np.mean(expected), abs=1e-6)


def test_seqeval_readme_examples(parity: Path) -> None:
    for case in read(parity / "seqeval" / "expected.json")["readme_examples"]:
        outcomes = Outcomes("tags", case["y_pred"], case["y_true"])
        assert seqeval_f1(outcomes) == pytest.approx(case["f1_default"])
        assert seqeval_f1_strict(outcomes) == pytest.approx(case["f1_strict_IOB2"])


def test_seqeval_of_a_gazetteer_on_wnut17(parity: Path) -> None:
    expected = read(parity / "seqeval" / "expected.json")["wnut17_dev_gazetteer"]
    text = (parity / "seqeval" / expected["file"].split(" ")[0]).read_text(encoding="utf-8")
    sentences = [
        [line.split("\t") for line in block.split("\n")] for block in text.strip("\n").split("\n\n")
    ]
    truth = [[line[1] for line in sentence] for sentence in sentences]
    answers = [[line[2] for line in sentence] for sentence in sentences]
    outcomes = Outcomes("tags", answers, truth)
    default, strict = expected["default_conlleval"], expected["strict_IOB2"]
    table = {
        seqeval_precision: default["micro avg"]["precision"],
        seqeval_recall: default["micro avg"]["recall"],
        seqeval_f1: default["micro avg"]["f1-score"],
        seqeval_f1_macro: default["macro avg"]["f1-score"],
        seqeval_f1_strict: strict["micro avg"]["f1-score"],
        EntityMetric("f1", "macro", strict=True): strict["macro avg"]["f1-score"],
        token_accuracy: expected["accuracy"],
    }
    for metric, value in table.items():
        assert metric(outcomes) == pytest.approx(value, abs=1e-9), metric.name
        everything_RN = np.ones((1, len(outcomes)))
        assert metric.resample(outcomes, everything_RN)[0] == pytest.approx(value, abs=1e-9)


def test_squad_cases(parity: Path) -> None:
    for case in read(parity / "squad_cases.json")["cases"]:
        predictions = [row["prediction_text"] for row in case["predictions"]]
        references = [row["answers"]["text"] for row in case["references"]]
        outcomes = Outcomes("text", predictions, references)
        assert 100 * squad_exact_match(outcomes) == pytest.approx(case["expected"]["exact_match"])
        assert 100 * squad_f1(outcomes) == pytest.approx(case["expected"]["f1"])


def test_percentile_interval_of_rouge_scores_own_case(parity: Path) -> None:
    case = read(parity / "rouge_cases.json")["bootstrap"][0]
    scores_NS = np.asarray(case["scores"], dtype=float)
    tail = (1 - case["confidence_interval"]) / 2
    means_RS = np.concatenate([w @ scores_NS / 3 for w in resamples(3, 1000, seed=0)])
    low, high = np.quantile(means_RS, [tail, 1 - tail], axis=0)
    np.testing.assert_allclose(low, case["low"], atol=1e-8)
    np.testing.assert_allclose(high, case["high"], atol=1e-8)
