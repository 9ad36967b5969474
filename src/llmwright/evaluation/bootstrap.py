"""Percentile bootstrap intervals: how far a figure would move with other rows of the same kind.

All metrics see the same resamples, so their intervals belong together. Rows are drawn with
replacement; a resample is kept as how often each row was drawn, which makes the value of most
metrics one matrix product.

Shapes: N rows, R resamples.
Source: Efron & Tibshirani 1993, chapter 13 (the percentile interval).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from llmwright.core.errors import InputError
from llmwright.evaluation.metrics.metric import Metric, blamed
from llmwright.evaluation.outcomes import FloatArray, IntArray, Outcomes

# A metric without row statistics is computed anew for each resample, so it gets fewer.
MAX_WHOLE_RESAMPLES = 100
# Numbers of one block of weights, 32 MB: resamples of long datasets are made block by block.
BLOCK_SIZE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """Both ends of an interval and how many resamples it comes from."""

    low: float
    high: float
    num_resamples: int


def resamples(num_rows: int, num_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield blocks of weights_RN: how often each row was drawn in each resample."""
    generator = np.random.default_rng(seed)
    block = max(1, min(num_resamples, BLOCK_SIZE // max(1, num_rows)))
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        drawn_RN = generator.integers(num_rows, size=(size, num_rows))
        drawn_RN += num_rows * np.arange(size)[:, None]
        weights = np.bincount(drawn_RN.ravel(), minlength=size * num_rows)
        yield weights.reshape(size, num_rows).astype(np.float64)


def intervals(
    metrics: list[Metric],
    outcomes: Outcomes,
    *,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 42,
    on_block: Callable[[int], None] = lambda done: None,
    failed: Counter[str] | None = None,
) -> dict[str, Interval]:
    """Return the interval of each metric, by name; none for fewer than two rows.

    Args:
        metrics: Metrics without an `obstacle` to these outcomes.
        outcomes: N rows.
        num_resamples: Resamples; 0 gives no intervals.
        confidence: Share of resamples inside.
        seed: Seed of the draws.
        on_block: Called with the number of resamples done.
        failed: Receives how many resamples a plugin's metric failed on; they have no value.

    Raises:
        InputError: A plugin's `Metric.resample` failed (``EVAL-010``).
    """
    failed = Counter() if failed is None else failed
    values: dict[str, list[FloatArray]] = {metric.name: [] for metric in metrics}
    if len(outcomes) < 2:
        return {}
    done = 0
    for weights_RN in resamples(len(outcomes), num_resamples, seed):
        for metric in metrics:
            with blamed(metric):
                found_R = metric.resample(outcomes, weights_RN)
            if found_R is None:
                kept_RN = weights_RN[: max(0, MAX_WHOLE_RESAMPLES - done)]
                found_R = _recompute(metric, outcomes, kept_RN, failed)
            values[metric.name].append(found_R)
        done += len(weights_RN)
        on_block(done)
    found = {name: percentiles(np.concatenate(v), confidence) for name, v in values.items() if v}
    return {name: interval for name, interval in found.items() if interval is not None}


def percentiles(values_R: FloatArray, confidence: float) -> Interval | None:
    """Return the interval between the outer percentiles; None without a defined value."""
    defined_R = values_R[np.isfinite(values_R)]
    if not len(defined_R):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined_R, [tail, 1 - tail])
    return Interval(float(low), float(high), len(defined_R))


def _recompute(
    metric: Metric, outcomes: Outcomes, weights_RN: FloatArray, failed: Counter[str]
) -> FloatArray:
    found_R = np.full(len(weights_RN), np.nan)
    for index, weights_N in enumerate(weights_RN):
        try:
            with blamed(metric):
                found_R[index] = metric(outcomes.take(rows_of(weights_N)))
        except InputError:
            # Rows drawn like this may lack what the metric divides by.
            failed[metric.name] += 1
    return found_R


def rows_of(weights_N: FloatArray) -> IntArray:
    """Return the drawn rows, each as often as it was drawn."""
    return np.repeat(np.arange(len(weights_N)), weights_N.astype(np.int64))
