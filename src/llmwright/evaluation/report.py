"""What an evaluation found: plain records that become ``report.json`` and the page."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from llmwright.core import locale
from llmwright.evaluation.metrics.ranking import Curve

VERSION = 1


@dataclass(frozen=True)
class Note:
    """A sentence that belongs into the report, in whatever language it is read."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)

    def text(self, lang: locale.Language | None = None) -> str:
        """Return the sentence; in the user's language unless another is given.

        A value that is a note itself is said in the same language.
        """
        values = {k: v.text(lang) if isinstance(v, Note) else v for k, v in self.values.items()}
        return locale.text(self.key, lang, **values)


@dataclass(frozen=True)
class Figure:
    """One metric's value.

    Attributes:
        name: The metric.
        value: Its value; None where it is undefined.
        low: Lower end of the interval, None without one.
        high: Upper end.
        num_resamples: Resamples behind the interval.
        higher_is_better: Direction of improvement.
        scale: Largest possible value, None without one.
        signature: Library, version and settings.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    num_resamples: int
    higher_is_better: bool
    scale: float | None
    signature: str


@dataclass(frozen=True)
class Verdict:
    """One line of the gate."""

    condition: str
    metric: str
    value: float | None
    passed: bool


@dataclass(frozen=True)
class ClassFigures:
    """How one label fared; the interval is that of F1."""

    label: str
    precision: float
    recall: float
    f1: float
    low: float | None
    high: float | None
    support: int
    predicted: int


@dataclass(frozen=True)
class Confusion:
    """How often rows of one label (first index) were given another (second index)."""

    labels: list[str]
    counts: list[list[int]]


@dataclass(frozen=True)
class Mixup:
    """A pair of labels the model confuses, and its share of the reference's rows."""

    reference: str
    prediction: str
    count: int
    share: float


@dataclass(frozen=True)
class Bin:
    """Rows whose x lies in one range, and the mean of what is shown above it."""

    low: float
    high: float
    num_rows: int
    mean_x: float
    mean_y: float


@dataclass(frozen=True)
class ScoredRow:
    """One evaluated row.

    Attributes:
        source: File it came from.
        row: Its record number there, from 1.
        input: What the model was asked, shortened by nothing.
        reference: The right answer.
        prediction: The model's answer.
        correct: Whether it is entirely right; None where there is no such thing.
        score: Quality of the answer, 0 to 1: right or wrong for labels, the overlap of label sets
            (Jaccard), the share of right tags, chrF / 100 of a text; of a number 1 less the error
            as a share of the range; of two answers the chance that the chosen one wins; for a
            language model the geometric mean of the probabilities of the right tokens.
        confidence: Probability the model gave to its answer, for labels.
        scores: The likeliest labels with their probabilities.
        num_tokens: Scored tokens, for a language model.
    """

    source: str
    row: int
    input: str
    reference: Any
    prediction: Any
    correct: bool | None
    score: float | None
    confidence: float | None = None
    scores: dict[str, float] | None = None
    num_tokens: int | None = None


@dataclass(frozen=True)
class Unscored:
    """A row that could not be scored, and why."""

    source: str
    row: int
    reason: str


@dataclass(frozen=True)
class Report:
    """Everything one evaluation found.

    Attributes:
        model: Id, task, type and size of the model.
        dataset: Id and task of the dataset.
        split: The part that was measured.
        num_rows: Rows of the split.
        num_scored: Rows behind the figures.
        settings: The config's values.
        figures: One entry per metric.
        verdicts: One entry per condition of the gate.
        notes: What a reader must know: choices made, metrics left out, undefined values.
        unscored: Rows without a score.
        classes: Per-label figures.
        confusion: Counts, for one label per row.
        mixups: The most frequent confusions.
        roc: ROC curves.
        pr: Precision-recall curves.
        calibration: Right answers by the model's confidence.
        lengths: Mean score by length of the input in characters.
        quality: Number of rows by score of the text.
    """

    model: dict[str, Any]
    dataset: dict[str, Any]
    split: str
    num_rows: int
    num_scored: int
    settings: dict[str, Any]
    figures: list[Figure]
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    unscored: list[Unscored] = field(default_factory=list)
    classes: list[ClassFigures] = field(default_factory=list)
    confusion: Confusion | None = None
    mixups: list[Mixup] = field(default_factory=list)
    roc: list[Curve] = field(default_factory=list)
    pr: list[Curve] = field(default_factory=list)
    calibration: list[Bin] = field(default_factory=list)
    lengths: list[Bin] = field(default_factory=list)
    quality: list[Bin] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every condition of the gate holds."""
        return all(verdict.passed for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; what is undefined or infinite becomes null."""
        body = dataclasses.asdict(self)
        body["notes"] = [
            {**dataclasses.asdict(note), "text": note.text("en")} for note in self.notes
        ]
        return {"version": VERSION, "passed": self.passed, **_finite(body)}


def _finite(value: Any) -> Any:
    """Replace floats that JSON cannot hold by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
