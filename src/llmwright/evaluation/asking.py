"""Asking a model about rows, so that one bad row costs only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.evaluation.outcomes import FloatArray
from llmwright.evaluation.report import Note, Unscored
from llmwright.tasks.judged import conversation, is_judged

if TYPE_CHECKING:
    from llmwright.inference.predictor import Predictor

# Batches handed to the predictor at once: enough for it to group rows of like length.
BATCHES_AT_ONCE = 16

Ask = Callable[[Sequence[Row]], list[Any]]


@dataclass(frozen=True)
class Asked:
    """One row with what the model made of it; None where it was not asked.

    Attributes:
        row: The dataset's row.
        reference: The right answer.
        answer: What `predict` returned.
        log_prob: Sum of the natural log-probabilities of the right tokens.
        num_tokens: How many tokens that are.
        num_bytes: UTF-8 bytes of a plain text.
        num_right: How many of the masked tokens are the likeliest of their place.
        rival_scores: What the model gives the chosen and the rejected of two answers: their
            log-probability, or a reward.
        truncated: Whether it was cut before the model read it.
    """

    row: Row
    reference: Any
    answer: dict[str, Any] | None = None
    log_prob: float | None = None
    num_tokens: int | None = None
    num_bytes: int | None = None
    num_right: int | None = None
    rival_scores: tuple[float, float] | None = None
    truncated: bool = False


@dataclass
class Asking:
    """A model with how it is asked; collects the rows it could not answer.

    Attributes:
        predictor: The model.
        batch_size: Rows it answers at once.
        on_progress: Called with stage, rows done and all rows.
        unscored: Rows without an answer, and why.
    """

    predictor: Predictor
    batch_size: int = 32
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    unscored: list[Unscored] = field(default_factory=list)

    def answers(self, asked: Sequence[Asked]) -> list[Asked]:
        """Return the rows with the model's answers."""
        found = self._each(self._predict, asked, "predict")
        return [
            replace(one, answer=answer, truncated=answer.get("truncated", False))
            for one, answer in found
        ]

    def label_answers(
        self, asked: Sequence[Asked], labels: Sequence[str]
    ) -> tuple[list[Asked], FloatArray]:
        """Return the rows with the model's answers, and the score of each label apart.

        A mapping of scores per row would take many times the memory of one array.
        """
        found: list[Asked] = []
        scores_NC = np.empty((len(asked), len(labels)))
        for one, answer in self._each(self._predict, asked, "predict"):
            scores = answer.pop("scores")
            scores_NC[len(found)] = [scores[label] for label in labels]
            cut = answer.get("truncated", False)
            found.append(replace(one, answer=answer, truncated=cut))
        return found, scores_NC[: len(found)]

    def _predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        return list(self.predictor.predict(rows, batch_size=self.batch_size))

    def log_probs(self, asked: Sequence[Asked]) -> list[Asked]:
        """Return the rows with the log-probability of their right tokens."""
        generates = self.predictor.task.generates
        plain = generates and self.predictor.contract.row_type == "text"

        def ask(rows: Sequence[Row]) -> list[Any]:
            texts = [conversation(r, "completion") if is_judged(r) else r for r in rows]
            return list(self.predictor.score(texts, batch_size=self.batch_size))

        found = []
        for one, score in self._each(ask, asked, "score"):
            if not len(score.log_probs_U):
                self._leave_out(one.row, Note("evaluation.no_tokens").text())
                continue
            found.append(
                replace(
                    one,
                    log_prob=float(np.sum(score.log_probs_U, dtype=np.float64)),
                    num_tokens=len(score.log_probs_U),
                    # Without the tokenizer's own steps: jieba adds spaces nobody wrote.
                    num_bytes=len(one.row["text"].encode()) if plain else None,
                    num_right=None if generates else int(score.right_U.sum()),
                    truncated=one.truncated or score.truncated,
                )
            )
        return found

    def preferences(self, asked: Sequence[Asked]) -> list[Asked]:
        """Return rows of two rival answers with the model's score of each.

        That is its log-probability, where the model writes texts, and its reward where it judges
        them.
        """
        generates = self.predictor.task.generates

        def ask(rows: Sequence[Row]) -> list[Any]:
            rivals = [conversation(row, name) for row in rows for name in ("chosen", "rejected")]
            run = self.predictor.score if generates else self.predictor.predict
            found = list(run(rivals, batch_size=self.batch_size))
            return list(zip(found[::2], found[1::2], strict=True))

        found = []
        for one, (chosen, rejected) in self._each(ask, asked, "score"):
            if not generates:
                scores = float(chosen["score"]), float(rejected["score"])
                cut = any(answer.get("truncated", False) for answer in (chosen, rejected))
                found.append(replace(one, rival_scores=scores, truncated=cut))
            elif not len(chosen.log_probs_U) or not len(rejected.log_probs_U):
                self._leave_out(one.row, Note("evaluation.no_tokens").text())
            else:
                sums = [float(np.sum(a.log_probs_U, dtype=np.float64)) for a in (chosen, rejected)]
                count = len(chosen.log_probs_U)
                found.append(
                    replace(
                        one,
                        rival_scores=(sums[0], sums[1]),
                        log_prob=sums[0],
                        num_tokens=count,
                        truncated=chosen.truncated or rejected.truncated,
                    )
                )
        return found

    def _each(self, ask: Ask, asked: Sequence[Asked], stage: str) -> Iterator[tuple[Asked, Any]]:
        size = self.batch_size * BATCHES_AT_ONCE
        for start in range(0, len(asked), size):
            group = asked[start : start + size]
            try:
                found = ask([one.row for one in group])
            except InputError:
                # One bad row must not spoil its group: each is asked alone.
                yield from self._one_by_one(ask, group)
            else:
                yield from zip(group, found, strict=True)
            self.on_progress(stage, start + len(group), len(asked))

    def _one_by_one(self, ask: Ask, group: Sequence[Asked]) -> Iterator[tuple[Asked, Any]]:
        for one in group:
            try:
                found = ask([one.row])
            except InputError as error:
                self._leave_out(one.row, f"[{error.code}] {error.message}")
            else:
                yield one, found[0]

    def _leave_out(self, row: Row, reason: str) -> None:
        place = str(row.get("source", "")), int(row.get("row") or 0)
        self.unscored.append(Unscored(*place, reason))
