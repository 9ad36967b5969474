from __future__ import annotations

import math

import pytest

from llmwright.core.config import parse
from llmwright.core.errors import ConfigError
from llmwright.evaluation.config import EvaluateConfig
from llmwright.evaluation.gate import parse_gate


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        (">= 0.9", 0.9, True),
        (">=0.9", 0.8999, False),
        ("> 0.9", 0.9, False),
        ("<= 20", 20.0, True),
        ("< 20", 20.5, False),
        (" >= 90 % ", 91.0, True),
        ("> 1e-3", 0.01, True),
    ],
)
def test_conditions(text: str, value: float, holds: bool) -> None:
    assert parse_gate({"bleu": text}, {"bleu": 100.0})[0].holds(value) is holds


def test_an_undefined_value_never_passes() -> None:
    condition = parse_gate({"perplexity": "<= 20"}, {"perplexity": None})[0]
    assert not condition.holds(None)
    assert not condition.holds(math.nan)


@pytest.mark.parametrize("text", ["0.9", "= 0.9", ">= high", ">= 0.9 or so", ""])
def test_an_unreadable_condition_is_refused_before_anything_runs(text: str) -> None:
    with pytest.raises(ConfigError, match="EVAL-001"):
        parse(EvaluateConfig, {"gate": {"accuracy": text}})


def test_a_gate_on_an_unknown_metric_names_the_closest() -> None:
    with pytest.raises(ConfigError, match="accuracy"):
        parse(EvaluateConfig, {"gate": {"acuracy": ">= 0.9"}})


def test_a_percentage_is_a_share_of_the_metrics_largest_value() -> None:
    gate = {"bleu": ">= 30 %", "exact_match": ">= 30 %"}
    bleu, exact = parse_gate(gate, {"bleu": 100.0, "exact_match": 1.0})
    assert (bleu.bound, exact.bound) == pytest.approx((30.0, 0.3))
    assert not bleu.holds(12.0)


def test_a_percentage_of_a_metric_without_largest_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="EVAL-011"):
        parse(EvaluateConfig, {"gate": {"perplexity": "<= 20 %"}})


@pytest.mark.parametrize(
    ("metric", "text", "meant"),
    [
        ("accuracy", ">= 85", ">= 85 %"),
        ("accuracy", "< 85", "< 85 %"),
        ("bleu", "> 120", "> 100 %"),
        ("seqeval_f1", ">= 120 %", ">= 100 %"),
    ],
)
def test_a_bound_beyond_the_metrics_scale_is_refused(metric: str, text: str, meant: str) -> None:
    with pytest.raises(ConfigError, match="EVAL-012") as caught:
        parse(EvaluateConfig, {"gate": {metric: text}})
    assert f'"{meant}"' in caught.value.fix


@pytest.mark.parametrize(("metric", "text"), [("bleu", ">= 30"), ("perplexity", "<= 900")])
def test_a_bound_on_the_metrics_scale_stands(metric: str, text: str) -> None:
    assert parse(EvaluateConfig, {"gate": {metric: text}}).gate == {metric: text}
