"""From outcomes to figures: which metrics apply, their values, intervals, gate and notes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmwright.core.errors import InputError
from llmwright.evaluation import breakdown
from llmwright.evaluation.bootstrap import Interval, intervals
from llmwright.evaluation.config import METRICS, EvaluateConfig
from llmwright.evaluation.gate import parse_gate
from llmwright.evaluation.metrics import ranking
from llmwright.evaluation.metrics.classification import counts
from llmwright.evaluation.metrics.metric import Metric, as_metric, blamed
from llmwright.evaluation.outcomes import Outcomes
from llmwright.evaluation.report import Figure, Note, ScoredRow, Verdict

MAX_NAMES = 10


@dataclass(frozen=True)
class Chosen:
    """The metrics to compute, and whether the user asked for each by name."""

    metrics: list[Metric]
    asked: frozenset[str]


def choose(config: EvaluateConfig, defaults: Sequence[str]) -> Chosen:
    """Return the metrics of the config, or the task's; those of the gate are added.

    Raises:
        ConfigError: A name is not registered (``CORE-011``).
        InputError: A registered thing is no metric (``EVAL-004``).
    """
    names = [*(defaults if config.metrics is None else config.metrics), *config.gate]
    metrics = [as_metric(name, METRICS.get(name)) for name in dict.fromkeys(names)]
    return Chosen(metrics, frozenset([*(config.metrics or []), *config.gate]))


def applicable(chosen: Chosen, outcomes: Outcomes) -> tuple[list[Metric], list[Note]]:
    """Return the metrics these outcomes allow, and a note for each suggested one they do not.

    Raises:
        InputError: One that was asked for by name does not apply (``EVAL-005``).
    """
    kept: list[Metric] = []
    notes: list[Note] = []
    for metric in chosen.metrics:
        with blamed(metric):
            obstacle = metric.obstacle(outcomes)
        if obstacle is None:
            kept.append(metric)
            continue
        reason = Note(obstacle)
        if metric.name in chosen.asked:
            raise InputError(
                "EVAL-005",
                name=metric.name,
                reason=reason.text(),
                choices=", ".join(possible(outcomes)),
            )
        notes.append(Note("evaluation.left_out", {"metric": metric.name, "reason": reason}))
    return kept, notes


def possible(outcomes: Outcomes) -> list[str]:
    """Return the names of all registered metrics these outcomes allow."""
    found = []
    for name in METRICS.names():
        metric = as_metric(name, METRICS.get(name))
        with blamed(metric):
            if metric.obstacle(outcomes) is None:
                found.append(name)
    return found


def figures(
    metrics: list[Metric],
    outcomes: Outcomes,
    config: EvaluateConfig,
    on_block: Callable[[int], None],
) -> tuple[list[Figure], list[Note]]:
    """Return each metric's value with its interval, and notes on undefined or coarse ones.

    Raises:
        InputError: A plugin's metric failed (``EVAL-010``).
    """
    values = {metric.name: _value(metric, outcomes) for metric in metrics}
    failed: Counter[str] = Counter()
    found = intervals(
        metrics,
        outcomes,
        num_resamples=config.num_bootstrap,
        confidence=config.confidence,
        seed=config.seed,
        on_block=on_block,
        failed=failed,
    )
    notes = [
        Note("evaluation.undefined", {"metric": name})
        for name, value in values.items()
        if math.isnan(value)
    ]
    if len(outcomes) == 1 and config.num_bootstrap:
        notes.append(Note("evaluation.one_row"))
    notes += [
        Note(
            "evaluation.fewer_resamples",
            {"metric": name, "count": interval.num_resamples, "asked": config.num_bootstrap},
        )
        for name, interval in found.items()
        if interval.num_resamples + failed[name] < min(config.num_bootstrap, 200)
    ]
    notes += [
        Note("evaluation.failed_resamples", {"metric": name, "count": count})
        for name, count in failed.items()
    ]
    return [_figure(m, values[m.name], found.get(m.name), outcomes) for m in metrics], notes


def _value(metric: Metric, outcomes: Outcomes) -> float:
    with blamed(metric):
        return float(metric(outcomes))


def _figure(metric: Metric, value: float, interval: Interval | None, outcomes: Outcomes) -> Figure:
    with blamed(metric):
        signature = metric.signature(outcomes)
    return Figure(
        name=metric.name,
        value=None if math.isnan(value) else value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        num_resamples=interval.num_resamples if interval else 0,
        higher_is_better=metric.higher_is_better,
        scale=metric.scale,
        signature=signature,
    )


def verdicts(config: EvaluateConfig, found: Sequence[Figure]) -> list[Verdict]:
    """Return whether each condition of the gate holds."""
    values = {figure.name: figure.value for figure in found}
    return [
        Verdict(str(c), c.metric, values.get(c.metric), c.holds(values.get(c.metric)))
        for c in parse_gate(config.gate, {figure.name: figure.scale for figure in found})
    ]


def label_notes(outcomes: Outcomes) -> list[Note]:
    """Return notes on labels that do not occur, are never predicted or have no curve."""
    if outcomes.form == "tags":
        return _entity_notes(outcomes)
    if outcomes.form not in ("label", "labels"):
        return []
    _, truth_1C, answer_1C = counts(outcomes, np.ones((1, len(outcomes))))
    truth_C, answer_C = truth_1C[0], answer_1C[0]
    names = outcomes.labels
    groups = {
        "absent_labels": [n for n, t, a in zip(names, truth_C, answer_C, strict=True) if not t + a],
        "never_predicted": [
            n for n, t, a in zip(names, truth_C, answer_C, strict=True) if t and not a
        ],
    }
    if outcomes.scores_NC is not None and outcomes.positive_index is None:
        curved = {names[c] for c in ranking.columns(outcomes)}
        groups["no_curve"] = [n for n in names if n not in curved]
    return [
        Note(
            f"evaluation.{key}",
            {"count": len(found), "total": len(names), "labels": named(found)},
        )
        for key, found in groups.items()
        if found
    ]


def _entity_notes(outcomes: Outcomes) -> list[Note]:
    """Return a note on types of entities, or tags where those are none, that are never found."""
    from llmwright.evaluation.metrics import tagging

    are_entities = tagging.tags_are_entities(outcomes)

    def types(rows: Sequence[list[str]]) -> set[str]:
        if are_entities:
            return {kind for tags in rows for kind, _, _ in tagging.entities(list(tags), False)}
        return {tag for tags in rows for tag in tags}

    occurring = types(outcomes.references)
    missed = sorted(occurring - types(outcomes.predictions))
    if not missed:
        return []
    values = {"count": len(missed), "total": len(occurring), "labels": named(missed)}
    return [Note("evaluation.never_predicted", values)]


def named(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    shown = ", ".join(names[:MAX_NAMES])
    return shown if len(names) <= MAX_NAMES else f"{shown} … (+{len(names) - MAX_NAMES})"


def breakdowns(
    outcomes: Outcomes, rows: Sequence[ScoredRow], config: EvaluateConfig
) -> dict[str, Any]:
    """Return the parts of a `Report` that say where the model goes wrong."""
    scores = [row.score for row in rows]
    found: dict[str, Any] = {
        "lengths": breakdown.by_length([len(row.input) for row in rows], scores)
    }
    if outcomes.form not in ("label", "labels"):
        return {**found, "quality": breakdown.histogram(scores)}
    matrix = breakdown.confusion(outcomes)
    return {
        **found,
        "classes": breakdown.class_figures(
            outcomes, config.num_bootstrap, config.confidence, config.seed
        ),
        "confusion": matrix,
        "mixups": breakdown.mixups(matrix),
        "roc": breakdown.curves("roc", outcomes),
        "pr": breakdown.curves("pr", outcomes),
        "calibration": breakdown.calibration(
            [row.confidence for row in rows], [row.correct for row in rows]
        ),
    }
