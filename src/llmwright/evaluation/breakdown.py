"""Where a model goes wrong: per label, confusions, curves, calibration, length, quality.

Shapes: N rows, C labels, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmwright.evaluation.bootstrap import percentiles, resamples
from llmwright.evaluation.metrics import ranking
from llmwright.evaluation.metrics.classification import counts, from_counts
from llmwright.evaluation.metrics.ranking import Curve, Kind
from llmwright.evaluation.outcomes import FloatArray, Outcomes
from llmwright.evaluation.report import Bin, ClassFigures, Confusion, Mixup

MAX_MIXUPS = 15
# Beyond this many labels only the curves with the smallest areas are kept: more cannot be read.
MAX_CURVES = 8


def class_figures(
    outcomes: Outcomes, num_resamples: int, confidence: float, seed: int
) -> list[ClassFigures]:
    """Return precision, recall and F1 of each label, with the bootstrap interval of F1."""
    total = counts(outcomes, np.ones((1, len(outcomes))))
    parts = {part: from_counts(part, *total)[0] for part in ("precision", "recall", "f1")}
    f1_RC = [
        from_counts("f1", *counts(outcomes, weights_RN))
        for weights_RN in resamples(len(outcomes), num_resamples, seed)
    ]
    found = []
    for c, label in enumerate(outcomes.labels):
        values_R = np.concatenate([block[:, c] for block in f1_RC]) if f1_RC else np.zeros(0)
        interval = percentiles(values_R, confidence)
        found.append(
            ClassFigures(
                label=label,
                precision=float(parts["precision"][c]),
                recall=float(parts["recall"][c]),
                f1=float(parts["f1"][c]),
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                support=int(total[1][0, c]),
                predicted=int(total[2][0, c]),
            )
        )
    return found


def confusion(outcomes: Outcomes) -> Confusion | None:
    """Return the confusion matrix of a task with one label per row, else None."""
    if outcomes.form != "label":
        return None
    size = len(outcomes.labels)
    pairs_N = outcomes.truth_N * size + outcomes.answer_N
    counts_CC = np.bincount(pairs_N, minlength=size * size).reshape(size, size)
    return Confusion(list(outcomes.labels), counts_CC.tolist())


def mixups(found: Confusion | None) -> list[Mixup]:
    """Return the most frequent confusions, most frequent first."""
    if found is None:
        return []
    pairs = [
        Mixup(found.labels[i], found.labels[j], count, count / sum(row))
        for i, row in enumerate(found.counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda m: (-m.count, -m.share, m.reference, m.prediction))[:MAX_MIXUPS]


def curves(kind: Kind, outcomes: Outcomes) -> list[Curve]:
    """Return the labels' curves, smallest area first, at most `MAX_CURVES`."""
    if outcomes.scores_NC is None or outcomes.form not in ("label", "labels"):
        return []
    areas = {c: ranking.area(kind, outcomes, c) for c in ranking.columns(outcomes)}
    kept = sorted(areas, key=lambda c: (areas[c], c))[:MAX_CURVES]
    return [ranking.curve(kind, outcomes, c) for c in kept]


def calibration(
    confidence: Sequence[float | None], correct: Sequence[bool | None], num_bins: int = 10
) -> list[Bin]:
    """Return the share of right answers in equal ranges of confidence; empty without confidence.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (reliability diagram).
    """
    pairs = [
        (x, float(y))
        for x, y in zip(confidence, correct, strict=True)
        if x is not None and y is not None
    ]
    return _bins(pairs, np.arange(num_bins + 1) / num_bins)


def by_length(
    lengths: Sequence[int], scores: Sequence[float | None], num_bins: int = 6
) -> list[Bin]:
    """Return the mean score in ranges of length with about as many rows each."""
    pairs = [(float(x), y) for x, y in zip(lengths, scores, strict=True) if y is not None]
    if not pairs:
        return []
    edges = np.unique(
        np.quantile([x for x, _ in pairs], np.arange(num_bins + 1) / num_bins).round()
    )
    return _bins(pairs, edges) if len(edges) > 1 else []


def histogram(scores: Sequence[float | None], num_bins: int = 20) -> list[Bin]:
    """Return how many rows have a score in equal ranges from 0 to 1."""
    pairs = [(score, score) for score in scores if score is not None]
    return _bins(pairs, np.arange(num_bins + 1) / num_bins, keep_empty=True)


def _bins(
    pairs: list[tuple[float, float]], edges: FloatArray, keep_empty: bool = False
) -> list[Bin]:
    if not pairs:
        return []
    x_N, y_N = np.asarray(pairs).T
    # The last range holds its upper end too.
    place_N = np.clip(np.searchsorted(edges, x_N, side="right") - 1, 0, len(edges) - 2)
    found = []
    for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        inside_N = place_N == i
        size = int(inside_N.sum())
        if size or keep_empty:
            mean_x, mean_y = (x_N[inside_N].mean(), y_N[inside_N].mean()) if size else (0.0, 0.0)
            found.append(Bin(float(low), float(high), size, float(mean_x), float(mean_y)))
    return found
