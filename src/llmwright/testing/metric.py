"""What every metric must do: call `check_metric` in the tests of yours.

    from llmwright.testing.metric import check_metric

    def test_my_metric() -> None:
        check_metric("shared_characters", my_metric)

Shapes: N rows, C labels, R resamples.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np

from llmwright.evaluation.metrics.metric import Metric, as_metric
from llmwright.evaluation.outcomes import Outcomes

TOLERANCE = 1e-9
_LABELS = ("cold", "rain", "sun")


def sample_outcomes(form: str, num_rows: int = 24, seed: int = 0) -> Outcomes:
    """Return outcomes of one form, about half of them right.

    Args:
        form: label, labels, tags, text, number, choice, or none for bare log-probabilities.
        num_rows: At least 1.
        seed: Of the random choices.
    """
    random = np.random.default_rng(seed)
    right_N = random.random(num_rows) < 0.5
    truth_N = [_LABELS[n % 3] for n in range(num_rows)]
    wrong_N = [_LABELS[(n + 1) % 3] for n in range(num_rows)]
    guess_N = [t if r else w for t, w, r in zip(truth_N, wrong_N, right_N, strict=True)]
    if form == "label":
        scores_NC = random.dirichlet(np.ones(3), num_rows)
        return Outcomes("label", guess_N, truth_N, _LABELS, scores_NC)
    if form == "labels":
        scores_NC = random.random((num_rows, 3))
        sets = [sorted({t, "sun"}) for t in truth_N]
        return Outcomes("labels", [[g] for g in guess_N], sets, _LABELS, scores_NC)
    if form == "tags":
        tags = [[f"B-{t}", f"I-{t}", "O"] for t in truth_N]
        return Outcomes("tags", [[f"B-{g}", f"I-{g}", "O"] for g in guess_N], tags)
    if form == "number":
        values_N = random.normal(3, 1, num_rows)
        guesses_N = values_N + random.normal(0, 0.5, num_rows)
        return Outcomes("number", guesses_N.tolist(), values_N.tolist())
    log_probs_N = -random.random(num_rows) * 20
    num_tokens_N = random.integers(1, 12, num_rows).astype(np.float64)
    measured = Outcomes(
        "none",
        log_probs_N=log_probs_N,
        num_tokens_N=num_tokens_N,
        num_bytes_N=num_tokens_N * 4,
        num_right_N=np.floor(num_tokens_N * random.random(num_rows)),
    )
    if form == "choice":
        guesses = ["chosen" if right else "rejected" for right in right_N]
        margins_N = np.where(right_N, 1.0, -1.0)
        truths = ["chosen"] * num_rows
        return replace(
            measured, form="choice", predictions=guesses, references=truths, margins_N=margins_N
        )
    if form == "none":
        return measured
    texts = [f"{t} 今天 weather number {n} is very good today" for n, t in enumerate(truth_N)]
    guesses = [t if r else f"no idea {g}" for t, g, r in zip(texts, guess_N, right_N, strict=True)]
    return replace(measured, form="text", predictions=guesses, references=texts)


def perfect(outcomes: Outcomes) -> Outcomes:
    """Return outcomes in which every answer is right and certain."""
    scores_NC = None
    if outcomes.scores_NC is not None:
        scores_NC = replace(outcomes, _memory={}).truth_NC.copy()
    log_probs_N = None if outcomes.log_probs_N is None else np.zeros(len(outcomes))
    references = outcomes.references
    answers = [r if isinstance(r, str) or outcomes.form != "text" else r[0] for r in references]
    return replace(
        outcomes,
        predictions=answers,
        scores_NC=scores_NC,
        log_probs_N=log_probs_N,
        num_right_N=None if outcomes.num_right_N is None else outcomes.num_tokens_N,
        _memory={},
    )


def check_metric(name: str, metric: object) -> None:
    """Run every check on every form of outcomes that the metric can measure.

    Args:
        name: Its registered name.
        metric: A `Metric`, a class of them or a function ``(predictions, references) -> float``.
    """
    measure = as_metric(name, metric)
    forms = ("label", "labels", "tags", "text", "number", "choice", "none")
    found = [o for o in map(sample_outcomes, forms) if measure.obstacle(o) is None]
    assert found, f"{name} can measure none of {forms}: see its needs"
    for outcomes in found:
        check_value(measure, outcomes)
        check_order(measure, outcomes)
        check_perfect(measure, outcomes)
        check_resamples(measure, outcomes)


def check_value(metric: Metric, outcomes: Outcomes) -> None:
    """The value is one JSON number within the metric's scale, the same each time."""
    before = copy.deepcopy((list(outcomes.predictions), list(outcomes.references)))
    value = metric(outcomes)
    assert type(value) is float, f"{metric.name} returns {type(value).__name__}, not float"
    assert math.isfinite(value), f"{metric.name} is {value} on ordinary rows"
    assert json.loads(json.dumps(value)) == value
    again = metric(replace(outcomes, _memory={}))
    assert again == value, f"{metric.name} is {value}, then {again}"
    if metric.scale is not None:
        within = -TOLERANCE <= value <= metric.scale * (1 + TOLERANCE)
        assert within, f"{metric.name} is {value}, beyond 0 to {metric.scale}"
    after = (list(outcomes.predictions), list(outcomes.references))
    assert after == before, f"{metric.name} changed the outcomes"
    assert isinstance(metric.signature(outcomes), str)


def check_order(metric: Metric, outcomes: Outcomes) -> None:
    """The order of the rows makes no difference."""
    value = metric(outcomes)
    for seed in range(3):
        order_N = np.random.default_rng(seed).permutation(len(outcomes))
        found = metric(outcomes.take(order_N))
        close = math.isclose(found, value, rel_tol=1e-9, abs_tol=TOLERANCE)
        assert close, f"{metric.name} is {value}, and {found} in another order"


def check_perfect(metric: Metric, outcomes: Outcomes) -> None:
    """No answers are better than perfect ones, and these reach the end of the scale."""
    value, best = metric(outcomes), metric(perfect(outcomes))
    if metric.higher_is_better:
        assert best >= value, f"{metric.name}: perfect answers give {best}, others {value}"
    else:
        assert best <= value, f"{metric.name}: perfect answers give {best}, others {value}"
    if metric.scale is not None and metric.higher_is_better:
        full = math.isclose(best, metric.scale, rel_tol=1e-6)
        assert full, f"{metric.name}: perfect answers give {best}, not {metric.scale}"


def check_resamples(metric: Metric, outcomes: Outcomes) -> None:
    """Resampling by weights gives what the drawn rows themselves give."""
    num_rows = len(outcomes)
    rows_RN = np.random.default_rng(1).integers(0, num_rows, (4, num_rows))
    rows_RN[0] = np.arange(num_rows)
    weights_RN = np.stack([np.bincount(row, minlength=num_rows) for row in rows_RN])
    found_R = metric.resample(outcomes, weights_RN.astype(np.float64))
    if found_R is None:
        return
    assert found_R.shape == (4,), f"{metric.name} resamples to shape {found_R.shape}, not (4,)"
    for rows_N, found in zip(rows_RN, found_R, strict=True):
        expected = metric(outcomes.take(rows_N))
        same = math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6)
        assert same, f"{metric.name} resamples to {found}, but the rows give {expected}"
