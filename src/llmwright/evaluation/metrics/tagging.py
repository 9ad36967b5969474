"""Entity precision, recall and F1 by seqeval, and the accuracy of single tags.

``seqeval_f1`` follows conlleval: an I- tag may begin an entity. ``seqeval_f1_strict`` demands
IOB2. Both count an entity as right when type and both ends are right. 0/0 counts as 0.

Shapes: N rows, T entity types, R resamples.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any, ClassVar, Literal

import numpy as np
from seqeval import metrics as sq
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from llmwright.evaluation.metrics.metric import RowMetric, ratio
from llmwright.evaluation.outcomes import FloatArray, Outcomes

Part = Literal["precision", "recall", "f1"]
Average = Literal["micro", "macro"]
Entity = tuple[str, int, int]


class EntityMetric(RowMetric):
    """Micro or macro average of one of precision, recall and F1 over entities."""

    needs: ClassVar[frozenset[str]] = frozenset({"tags"})

    def __init__(self, part: Part, average: Average = "micro", strict: bool = False) -> None:
        suffix = ("_macro" if average == "macro" else "") + ("_strict" if strict else "")
        self.name = f"seqeval_{part}{suffix}"
        self.part: Part = part
        self.average: Average = average
        self.strict = strict

    def __call__(self, outcomes: Outcomes) -> float:
        """Return seqeval's value; NaN when there is no entity at all."""
        if not self._statistics(outcomes).any():
            return float("nan")
        function = {"precision": sq.precision_score, "recall": sq.recall_score, "f1": sq.f1_score}
        options: dict[str, Any] = {"mode": "strict", "scheme": IOB2} if self.strict else {}
        value = function[self.part](
            list(outcomes.references),
            list(outcomes.predictions),
            average=self.average,
            zero_division=0,
            **options,
        )
        return float(value)

    def obstacle(self, outcomes: Outcomes) -> str | None:
        """Return why not; seqeval needs tags that say where entities begin and go on."""
        found = super().obstacle(outcomes)
        if found is None and not tags_are_entities(outcomes, "BI" if self.strict else "BIES"):
            return "evaluation.obstacle.entities"
        return found

    def row_statistics(self, outcomes: Outcomes) -> FloatArray:
        """Return right, true and predicted entities per type: N x 3T."""
        truth = [entities(list(tags), self.strict) for tags in outcomes.references]
        answers = [entities(list(tags), self.strict) for tags in outcomes.predictions]
        types = sorted({entity[0] for row in [*truth, *answers] for entity in row})
        column = {name: i for i, name in enumerate(types)}
        statistics = np.zeros((len(truth), 3, len(types)))
        for n, (true, answer) in enumerate(zip(truth, answers, strict=True)):
            for part, found in enumerate((true & answer, true, answer)):
                for entity in found:
                    statistics[n, part, column[entity[0]]] += 1
        return statistics.reshape(len(truth), -1)

    def from_sums(self, sums_RS: FloatArray) -> FloatArray:
        """Return the value from summed counts."""
        hits, truth, answers = np.split(sums_RS, 3, axis=1)
        if self.average == "micro":
            hits, truth, answers = (x.sum(axis=1, keepdims=True) for x in (hits, truth, answers))
        above = {"precision": hits, "recall": hits, "f1": 2 * hits}[self.part]
        below = {"precision": answers, "recall": truth, "f1": truth + answers}[self.part]
        values = ratio(above, below, undefined=0.0)
        occurs = (truth + answers) > 0
        return ratio((values * occurs).sum(axis=1), occurs.sum(axis=1).astype(float), 0.0)

    def signature(self, outcomes: Outcomes) -> str:
        """Return library, mode, average and version."""
        mode = "strict IOB2" if self.strict else "default (conlleval)"
        return (
            f"seqeval|mode:{mode}|average:{self.average}|zero_division:0"
            f"|version:{metadata.version('seqeval')}"
        )


class TokenAccuracy(RowMetric):
    """Share of tokens with the right tag."""

    name = "token_accuracy"
    needs: ClassVar[frozenset[str]] = frozenset({"tags"})

    def __call__(self, outcomes: Outcomes) -> float:
        """Return seqeval's accuracy; NaN without tokens."""
        if not any(len(tags) for tags in outcomes.references):
            return float("nan")
        return float(sq.accuracy_score(list(outcomes.references), list(outcomes.predictions)))

    def row_statistics(self, outcomes: Outcomes) -> FloatArray:
        """Return right tags and tags per row."""
        pairs = zip(outcomes.references, outcomes.predictions, strict=True)
        rows = [
            [sum(a == b for a, b in zip(true, answer, strict=True)), len(true)]
            for true, answer in pairs
        ]
        return np.asarray(rows, dtype=np.float64).reshape(-1, 2)

    def from_sums(self, sums_RS: FloatArray) -> FloatArray:
        """Return right over all."""
        return ratio(sums_RS[:, 0], sums_RS[:, 1], undefined=np.nan)

    def signature(self, outcomes: Outcomes) -> str:
        """Return library and version."""
        return f"seqeval accuracy_score|version:{metadata.version('seqeval')}"


def entities(tags: list[str], strict: bool) -> set[Entity]:
    """Return the entities of one sentence as (type, first token, end)."""
    if strict:
        sentences = Entities([tags], IOB2).entities
        return {(e.tag, e.start, e.end) for sentence in sentences for e in sentence}
    return set(get_entities(tags))


def tags_are_entities(outcomes: Outcomes, prefixes: str = "BIES") -> bool:
    """Say whether all tags are O or begin with one of the prefixes (else seqeval means nothing)."""
    tags = {tag for row in [*outcomes.references, *outcomes.predictions] for tag in row}
    starts = tuple(f"{prefix}-" for prefix in prefixes)
    return all(tag in {"O", *prefixes} or tag.startswith(starts) for tag in tags)


seqeval_precision = EntityMetric("precision")
seqeval_recall = EntityMetric("recall")
seqeval_f1 = EntityMetric("f1")
seqeval_f1_macro = EntityMetric("f1", "macro")
seqeval_f1_strict = EntityMetric("f1", strict=True)
token_accuracy = TokenAccuracy()
