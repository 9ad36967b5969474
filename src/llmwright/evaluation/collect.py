"""From dataset rows to outcomes: what is asked, what came back, and which rows are left out.

Shapes: N rows, C labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.evaluation.asking import Asked, Asking
from llmwright.evaluation.measure import Chosen, named
from llmwright.evaluation.metrics.translation import chrf
from llmwright.evaluation.outcomes import FloatArray, Form, Outcomes
from llmwright.evaluation.report import Note, ScoredRow, Unscored
from llmwright.tasks.task import Task

if TYPE_CHECKING:
    from llmwright.tasks.contract import Contract

MAX_SHOWN_SCORES = 5
# What metrics need that work with probabilities of right tokens.
SCORED = frozenset({"log_probs", "right"})
# What an answer of a form is called in `Task.answer`, where not by the form's own name.
ANSWER_KEYS = {"number": "value"}


@dataclass
class Collected:
    """What came of asking.

    Attributes:
        outcomes: Predictions and references of the rows that could be scored.
        rows: The same rows, one record each.
        unscored: The other rows.
        notes: What a reader must know about the answers.
    """

    outcomes: Outcomes
    rows: list[ScoredRow]
    unscored: list[Unscored] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def form_of(task: Task, contract: Contract, rows: Sequence[Row], chosen: Chosen) -> Form:
    """Return the form of the answers that these metrics need from this task."""
    if rows and "rejected" in rows[0]:
        return "choice"
    if contract.labels:
        if task.name == "token-classification":
            return "tags"
        return "labels" if contract.multi_label else "label"
    if task.name == "text-regression":
        return "number"
    wants_text = any("text" in metric.needs for metric in chosen.metrics)
    has_text = bool(rows) and all(task.reference(row) is not None for row in rows)
    return "text" if wants_text and has_text else "none"


def preview(task: Task, contract: Contract, rows: Sequence[Row], chosen: Chosen) -> Outcomes:
    """Return outcomes of the form that `collect` will give, as if every answer were right."""
    form = form_of(task, contract, rows, chosen)
    references = [_reference(task, row, form) for row in rows] if form != "none" else []
    has_labels = form in ("label", "labels")
    shape = (len(rows), len(contract.labels))
    zeros_N = np.zeros(len(rows)) if task.scores else None
    return Outcomes(
        form=form,
        predictions=references,
        references=references,
        labels=tuple(contract.labels) if has_labels else (),
        scores_NC=np.zeros(shape) if has_labels else None,
        log_probs_N=zeros_N,
        num_tokens_N=zeros_N,
        num_bytes_N=zeros_N if task.generates and contract.row_type == "text" else None,
        num_right_N=None if task.generates else zeros_N,
        margins_N=np.zeros(len(rows)) if form == "choice" else None,
    )


def _reference(task: Task, row: Row, form: Form) -> Any:
    return "chosen" if form == "choice" else task.reference(row)


def check_labels(task: Task, contract: Contract, rows: Sequence[Row], split: str) -> None:
    """Refuse rows whose labels the model never saw.

    Raises:
        InputError: There are such rows (``EVAL-003``).
    """
    if not contract.labels:
        return
    known = set(contract.labels)
    unseen: Counter[str] = Counter()
    wrong: list[Row] = []
    for row in rows:
        reference = task.reference(row)
        labels = {reference} if isinstance(reference, str) else set(reference)
        if labels - known:
            unseen.update(labels - known)
            wrong.append(row)
    if wrong:
        counted = [f"{label} ({count})" for label, count in unseen.most_common()]
        raise InputError(
            "EVAL-003",
            num_rows=len(wrong),
            split=split,
            labels=named(counted),
            row=wrong[0].get("row", "?"),
            source=wrong[0].get("source", "?"),
            known=named(contract.labels),
        )


def collect(
    asking: Asking, task: Task, rows: Sequence[Row], chosen: Chosen, positive: str = ""
) -> Collected:
    """Ask the model about every row.

    Args:
        asking: The model, ready to be asked.
        task: Its task.
        rows: Canonical rows of the dataset.
        chosen: The metrics, which decide whether texts, log-probabilities or both are needed.
        positive: Label that counts as positive of two, or empty.

    Raises:
        InputError: No row could be scored (``EVAL-007``).
    """
    contract = asking.predictor.contract
    form = form_of(task, contract, rows, chosen)
    rows, left_out = _without_bad_answers(rows)
    asked = [Asked(row, _reference(task, row, form)) for row in rows]
    scores_NC = None
    if form == "choice":
        asked = asking.preferences(asked)
    elif form in ("label", "labels"):
        asked, scores_NC = asking.label_answers(asked, contract.labels)
    elif form != "none":
        asked = asking.answers(asked)
    if form != "choice" and task.scores and any(SCORED & m.needs for m in chosen.metrics):
        asked = asking.log_probs(asked)
    if not asked or (form == "none" and asked[0].log_prob is None):
        reason = asking.unscored[0].reason if asking.unscored else "-"
        raise InputError("EVAL-007", num_rows=len(rows), reason=reason)
    outcomes = _outcomes(form, asked, scores_NC, contract, positive)
    notes = left_out + _notes(form, asked, asking.unscored, contract)
    return Collected(outcomes, _records(form, asked, outcomes), asking.unscored, notes)


def _without_bad_answers(rows: Sequence[Row]) -> tuple[Sequence[Row], list[Note]]:
    """Return the rows but for answers that were judged bad: nothing is to give these chances."""
    kept = [row for row in rows if row.get("flag", True)]
    left = len(rows) - len(kept)
    values = {"count": left, "num_rows": len(rows)}
    return kept, [Note("evaluation.bad_answers", values)] if left else []


def _outcomes(
    form: Form,
    asked: Sequence[Asked],
    scores_NC: FloatArray | None,
    contract: Contract,
    positive: str,
) -> Outcomes:
    answers = [one.answer or {} for one in asked]
    margins = [None if one.rival_scores is None else _margin(one.rival_scores) for one in asked]
    if form == "choice":
        answers = [{form: "chosen" if (margin or 0) > 0 else "rejected"} for margin in margins]
    return Outcomes(
        form=form,
        predictions=[answer[ANSWER_KEYS.get(form, form)] for answer in answers]
        if form != "none"
        else (),
        references=[one.reference for one in asked] if form != "none" else (),
        labels=tuple(contract.labels) if form in ("label", "labels") else (),
        scores_NC=scores_NC,
        log_probs_N=_numbers([one.log_prob for one in asked]),
        num_tokens_N=_numbers([one.num_tokens for one in asked]),
        num_bytes_N=_numbers([one.num_bytes for one in asked]),
        num_right_N=_numbers([one.num_right for one in asked]),
        margins_N=_numbers(margins),
        positive=positive,
    )


def _margin(scores: tuple[float, float]) -> float:
    return scores[0] - scores[1]


def _numbers(values: Sequence[float | None]) -> FloatArray | None:
    """Return values as an array; None where the rows have none."""
    known = [value for value in values if value is not None]
    return np.asarray(known, dtype=np.float64) if len(known) == len(values) else None


def _records(form: Form, asked: Sequence[Asked], outcomes: Outcomes) -> list[ScoredRow]:
    text_scores = chrf.row_scores(outcomes) / 100 if form == "text" else None
    found = []
    scores_NC = outcomes.scores_NC
    spread = _spread(outcomes)
    for n, one in enumerate(asked):
        prediction, reference = outcomes.predictions[n] if form != "none" else None, one.reference
        best = _best_scores(outcomes, n)
        correct: bool | None
        if form == "choice":
            correct, score = _preferred(one)
            best = dict(zip(("chosen", "rejected"), one.rival_scores or (), strict=False))
            prediction, reference = one.row[outcomes.predictions[n]], one.row["chosen"]
        elif form == "none":
            correct, score = None, math.exp((one.log_prob or 0.0) / (one.num_tokens or 1))
        elif form == "number":
            correct, score = None, max(0.0, 1 - abs(prediction - reference) / spread)
        elif text_scores is not None:
            correct = str(prediction).strip() == str(reference).strip()
            score = float(text_scores[n])
        else:
            correct, score = row_score(form, prediction, reference)
        found.append(
            ScoredRow(
                source=str(one.row.get("source", "")),
                row=int(one.row.get("row") or 0),
                input=input_text(one.row),
                reference=reference,
                prediction=prediction,
                correct=correct,
                score=score,
                confidence=float(scores_NC[n, outcomes.labels.index(prediction)])
                if form == "label" and scores_NC is not None
                else None,
                scores=best or None,
                num_tokens=one.num_tokens,
            )
        )
    return found


def _preferred(one: Asked) -> tuple[bool, float]:
    """Return whether the chosen answer has the higher score, and its chance to win by them.

    Source: Bradley and Terry 1952: the logistic function of the difference.
    """
    margin = _margin(one.rival_scores or (0.0, 0.0))
    return margin > 0, float(expit(margin))


def _spread(outcomes: Outcomes) -> float:
    """Return the range of the right numbers, by which errors are judged; 1 where there is none."""
    if outcomes.form != "number" or not len(outcomes):
        return 1.0
    return float(np.ptp(np.asarray(outcomes.references, dtype=np.float64))) or 1.0


def _best_scores(outcomes: Outcomes, row: int) -> dict[str, float]:
    """Return the largest scores of one row, the largest first; empty without scores."""
    if outcomes.scores_NC is None:
        return {}
    scores_C = outcomes.scores_NC[row]
    best = np.argsort(-scores_C, kind="stable")[:MAX_SHOWN_SCORES]
    return {outcomes.labels[c]: float(scores_C[c]) for c in best}


def row_score(form: Form, prediction: Any, reference: Any) -> tuple[bool, float]:
    """Return whether labels or tags are entirely right, and how right they are, 0 to 1."""
    if form == "label":
        return prediction == reference, float(prediction == reference)
    if form == "labels":
        union = set(prediction) | set(reference)
        shared = set(prediction) & set(reference)
        return prediction == reference or shared == union, len(shared) / len(
            union
        ) if union else 1.0
    right = sum(a == b for a, b in zip(prediction, reference, strict=True))
    return right == len(reference), right / len(reference) if reference else 1.0


def input_text(row: Row) -> str:
    """Return what the model was asked, as one text."""
    if row.get("messages") or row.get("prompt"):
        messages = row.get("messages") or row["prompt"]
        turns = [m for m in messages if m["role"] != "assistant"]
        return "\n".join(f"{m['role']}: {m['content']}" for m in turns)
    if row.get("tokens") is not None:
        return " ".join(row["tokens"])
    parts = [row.get(name) for name in ("text", "text_pair", "input")]
    return "\n".join(str(part) for part in parts if part is not None)


def _notes(
    form: Form, asked: Sequence[Asked], unscored: Sequence[Unscored], contract: Contract
) -> list[Note]:
    notes = []
    values: dict[str, Any]
    if unscored:
        values = {"count": len(unscored), "reason": unscored[0].reason}
        notes.append(Note("evaluation.unscored", values))
    cut = sum(one.truncated for one in asked)
    if cut and form != "tags":
        values = {"num_rows": cut, "max_length": contract.max_length}
        notes.append(Note("evaluation.cut", values))
    if form == "tags":
        # A word the model did not read, because the text was cut, has no probability at all.
        missed = [sum(s == 0 for s in (one.answer or {}).get("scores", ())) for one in asked]
        if any(missed):
            values = {
                "num_tokens": sum(missed),
                "num_rows": sum(count > 0 for count in missed),
                "max_length": contract.max_length,
            }
            notes.append(Note("evaluation.untagged", values))
    windowed = [one for one in asked if (one.num_tokens or 0) >= contract.max_length]
    if windowed and contract.row_type == "text":
        values = {"num_rows": len(windowed), "max_length": contract.max_length}
        notes.append(Note("evaluation.windows", values))
    return notes
