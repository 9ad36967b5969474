"""What a model answered next to what it should have answered, for N evaluated rows.

Metrics work on this alone: no model, no torch. Shapes: N rows, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
T = TypeVar("T")

# What an answer is: one label, a set of labels, one tag per token, a text, a number, which of two
# rival answers is better, or nothing but token log-probabilities.
Form = Literal["label", "labels", "tags", "text", "number", "choice", "none"]


@dataclass(frozen=True)
class Outcomes:
    """Predictions and references of N rows in one form, with scores where the model gives them.

    Attributes:
        form: What the entries of ``predictions`` and ``references`` are.
        predictions: N answers: str (label, text, and ``chosen`` or ``rejected`` as a choice), list
            of str (labels, tags) or float (number).
        references: N right answers; a text may have several (a list of str).
        labels: The model's labels in its own order, for forms label and labels.
        scores_NC: Probability of each label.
        log_probs_N: Sum of the natural log-probabilities of each row's scored tokens.
        num_tokens_N: Number of scored tokens of each row.
        num_bytes_N: UTF-8 bytes of each row's scored text.
        margins_N: How much higher the model scores the chosen of two answers than the rejected.
        num_right_N: Of the scored tokens of each row, how many the model has right.
        positive: The label that counts as positive where there are two.
    """

    form: Form
    predictions: Sequence[Any] = ()
    references: Sequence[Any] = ()
    labels: tuple[str, ...] = ()
    scores_NC: FloatArray | None = None
    log_probs_N: FloatArray | None = None
    num_tokens_N: FloatArray | None = None
    num_bytes_N: FloatArray | None = None
    margins_N: FloatArray | None = None
    num_right_N: FloatArray | None = None
    positive: str = ""
    _memory: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Fill in the labels that occur where the model's labels are not given."""
        if not self.labels and self.form in ("label", "labels"):
            found = {label for row in self.label_sets for label in row}
            object.__setattr__(self, "labels", tuple(sorted(found)))

    def __len__(self) -> int:
        if self.form == "none":
            return 0 if self.log_probs_N is None else len(self.log_probs_N)
        return len(self.references)

    @property
    def offers(self) -> frozenset[str]:
        """What a metric may need of these outcomes: the form, scores, log_probs, bytes, right."""
        found: set[str] = {self.form}
        found |= {"scores"} if self.scores_NC is not None else set()
        found |= {"log_probs"} if self.log_probs_N is not None else set()
        found |= {"bytes"} if self.num_bytes_N is not None else set()
        found |= {"right"} if self.num_right_N is not None else set()
        return frozenset(found)

    @property
    def label_sets(self) -> list[Sequence[str]]:
        """All label sets, references first: 2 N of them."""
        rows = [*self.references, *self.predictions]
        return [[row] for row in rows] if self.form == "label" else rows

    @property
    def positive_index(self) -> int | None:
        """Column of the positive label of a two-label task, else None; the last label if unset."""
        if self.form != "label" or len(self.labels) != 2:
            return None
        return self.labels.index(self.positive) if self.positive else 1

    @cached_property
    def truth_N(self) -> IntArray:
        """Column of each reference, where there is one label per row."""
        return self._columns(self.references)

    @cached_property
    def answer_N(self) -> IntArray:
        """Column of each prediction, where there is one label per row."""
        return self._columns(self.predictions)

    @cached_property
    def truth_NC(self) -> FloatArray:
        """1 where the reference holds the label; `truth_N` is smaller where it will do."""
        return self._indicators(self.references)

    @cached_property
    def answer_NC(self) -> FloatArray:
        """1 where the prediction holds the label; `answer_N` is smaller where it will do."""
        return self._indicators(self.predictions)

    def truth_of(self, column: int) -> FloatArray:
        """Return, for each row, 1 where the reference holds the label of a column."""
        same_N = self.truth_N == column if self.form == "label" else self.truth_NC[:, column]
        return np.asarray(same_N, dtype=np.float64)

    def _columns(self, rows: Sequence[str]) -> IntArray:
        column = {label: i for i, label in enumerate(self.labels)}
        return np.fromiter((column[row] for row in rows), dtype=np.int64, count=len(rows))

    def _indicators(self, rows: Sequence[Any]) -> FloatArray:
        column = {label: i for i, label in enumerate(self.labels)}
        matrix_NC = np.zeros((len(rows), len(self.labels)))
        for n, row in enumerate(rows):
            for label in [row] if self.form == "label" else row:
                matrix_NC[n, column[label]] = 1.0
        return matrix_NC

    def alternatives(self, row: int) -> list[str]:
        """Return the acceptable texts of one row."""
        found = self.references[row]
        return [found] if isinstance(found, str) else list(found)

    def take(self, rows_M: IntArray) -> Outcomes:
        """Return the outcomes of the given rows, which may repeat."""

        def pick(values_N: FloatArray | None) -> FloatArray | None:
            return None if values_N is None else values_N[rows_M]

        with_text = self.form != "none"
        return Outcomes(
            form=self.form,
            predictions=[self.predictions[i] for i in rows_M] if with_text else (),
            references=[self.references[i] for i in rows_M] if with_text else (),
            labels=self.labels,
            scores_NC=pick(self.scores_NC),
            log_probs_N=pick(self.log_probs_N),
            num_tokens_N=pick(self.num_tokens_N),
            num_bytes_N=pick(self.num_bytes_N),
            margins_N=pick(self.margins_N),
            num_right_N=pick(self.num_right_N),
            positive=self.positive,
        )

    def remember(self, key: str, make: Callable[[], T]) -> T:
        """Return what ``make`` returned the first time this key was asked for."""
        if key not in self._memory:
            self._memory[key] = make()
        found: T = self._memory[key]
        return found
