"""Is this the same model? The recorded probes run again, and a table of the differences.

Comparisons of texts are teacher-forced: the model is led along the recorded continuation, so one
early difference does not spoil all that follows. A label or token that differs counts only where
the recorded lead of the likeliest one over the second exceeds what is too close to call in a number
format: closer races may go either way without anything being wrong.

Shapes: L labels, T tokens, U written tokens, V vocabulary, K kept tokens, D size of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from llmwright.inference.engines.asking import logits_of
from llmwright.inference.engines.engine import SamplingEngine
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.probes import (
    MAX_SECONDS,
    Probe,
    Probes,
    identity_of,
    run_bounded,
    walk,
)
from llmwright.inference.proof.written import compare_texts
from llmwright.tasks.task import Output, Task

MAX_DIFFERENCES = 10


@dataclass(frozen=True)
class Limits:
    """What is accepted.

    Attributes:
        tolerance: Largest difference of a logit or log-probability, times the largest recorded
            value where that is above 1.
        min_labels: Share of labels that must agree.
        min_tokens: Share of tokens that must agree, each behind the recorded ones.
        min_texts: Share of whole texts that must be written alike; one token in twenty that differs
            changes most texts, so formats of few bits promise none.
        min_cosine: Least cosine of the angle between a text's vector and the recorded one.
        close: Lead of a label or token over the second (difference of logits) up to which either is
            right; the tolerance when not given.
    """

    tolerance: float
    min_labels: float
    min_tokens: float
    min_texts: float
    min_cosine: float
    close: float | None = None

    @property
    def lead(self) -> float:
        """The lead that is too close to call where values are not scaled: probabilities."""
        return self.tolerance if self.close is None else self.close

    def close_for(self, values: np.ndarray) -> float:
        """Return the lead that is too close to call among these values."""
        scaled = self.tolerance * max(1.0, largest(values))
        return scaled if self.close is None else self.close


# By the number format of what is checked. Other arithmetic gives other last digits; 8 bits give
# other digits altogether, so there the answers count.
LIMITS = {
    "float32": Limits(1e-4, 1.0, 1.0, 1.0, 0.99999),
    "bfloat16": Limits(5e-2, 0.99, 0.98, 0.0, 0.999, close=0.05),
    "float16": Limits(1e-2, 0.99, 0.99, 0.0, 0.999, close=0.01),
    "int8": Limits(0.5, 0.99, 0.95, 0.0, 0.98, close=0.25),
    "bf16": Limits(5e-2, 0.99, 0.98, 0.0, 0.999, close=0.05),
    "q8_0": Limits(0.2, 0.99, 0.95, 0.0, 0.999, close=0.1),
    "q4_0": Limits(2.0, 0.9, 0.7, 0.0, 0.95, close=0.25),
    "url": Limits(1e-3, 1.0, 1.0, 1.0, 0.9999),
}


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes:
        name: What was compared; a sentence ``inference.check_<name>`` explains it.
        value: What was found: a difference, a share, or a fact.
        limit: What is accepted: at most for differences, at least for shares, equal for facts.
        passed: Whether it holds.
    """

    name: str
    value: Any
    limit: Any
    passed: bool


@dataclass
class ParityTable:
    """What came out of running the probes.

    Attributes:
        engine: What ran the model.
        number_format: Of its weights; ``url`` for a server.
        num_probes: Probes that were run …
        num_recorded: … of so many.
        checks: The lines.
        differences: Up to ten probes that answered otherwise.
        not_verified: Why nothing could be run here; empty where it was.
    """

    engine: str
    number_format: str
    num_probes: int = 0
    num_recorded: int = 0
    checks: list[Check] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)
    not_verified: str = ""

    @property
    def passed(self) -> bool:
        """Whether every check was made and holds."""
        return not self.not_verified and all(check.passed for check in self.checks)

    @property
    def failed(self) -> list[Check]:
        """The checks that do not hold."""
        return [check for check in self.checks if not check.passed]

    def value(self, name: str) -> Any:
        """Return what a check found; None when it was not made."""
        return next((check.value for check in self.checks if check.name == name), None)

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Add a difference, which must be small; not a number fails."""
        self.checks.append(Check(name, float(value), limit, bool(value <= limit)))

    def at_least(self, name: str, value: float, limit: float) -> None:
        """Add a share, which must be large."""
        self.checks.append(Check(name, float(value), limit, bool(value >= limit)))

    def equal(self, name: str, value: Any, expected: Any) -> None:
        """Add a fact, which must be the recorded one."""
        self.checks.append(Check(name, value, expected, value == expected))

    def differ(self, probe: Probe, found: Any) -> None:
        """Remember a probe that answered otherwise."""
        if len(self.differences) < MAX_DIFFERENCES:
            entry = {"row": probe.row, "expected": probe.answer, "found": found}
            self.differences.append(entry)

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain values."""
        return {**asdict(self), "passed": self.passed}


def limits_for(
    number_format: str, tolerance: float | None = None, min_agreement: float | None = None
) -> Limits:
    """Return what is accepted of a number format, with the user's own limits laid over it."""
    known = LIMITS.get(number_format, LIMITS["int8"])
    if tolerance is not None:
        known = replace(known, tolerance=tolerance)
    if min_agreement is not None:
        known = replace(known, min_labels=min_agreement, min_tokens=min_agreement)
    return known


@dataclass
class Tally:
    """What was counted over all probes."""

    inputs_equal: int = 0
    largest_difference: float = 0.0
    largest_value: float = 0.0
    least_cosine: float = 1.0
    agreeing: int = 0
    compared: int = 0
    texts_equal: int = 0

    def add_cosine(self, found_D: np.ndarray, recorded_D: np.ndarray) -> None:
        """Keep the smaller one; "not a number" once seen is never forgotten."""
        self.least_cosine = float(np.minimum(self.least_cosine, cosine(found_D, recorded_D)))

    def add_difference(self, difference: float) -> None:
        """Keep the larger one; "not a number" once seen is never forgotten."""
        self.largest_difference = float(np.maximum(self.largest_difference, difference))


def compare(
    predictor: Predictor,
    probes: Probes,
    limits: Limits | None = None,
    max_seconds: float = MAX_SECONDS,
) -> ParityTable:
    """Run the probes on a model of this machine and return the table.

    Args:
        predictor: The model.
        probes: What was recorded.
        limits: What is accepted; by the engine's number format when not given.
        max_seconds: No further probe begins after this time, once 4 were run.
    """
    comparison = Comparison(predictor, probes, limits)
    for _ in run_bounded(probes.probes, comparison.run, max_seconds):
        pass
    return comparison.table()


class Comparison:
    """A comparison that goes on as more probes are run.

    Args:
        predictor: The model.
        probes: What was recorded.
        limits: What is accepted; by the engine's number format when not given.
    """

    def __init__(self, predictor: Predictor, probes: Probes, limits: Limits | None = None) -> None:
        engine = predictor.engine
        self._predictor = predictor
        self._limits = limits or limits_for(engine.number_format)
        self._begun = ParityTable(
            engine.name, engine.number_format, num_recorded=len(probes.probes)
        )
        found = identity_of(predictor.contract, predictor.tokenizer)
        for name, expected in probes.identity.items():
            if found.get(name) != expected:
                self._begun.equal(name, found.get(name), expected)
        self._tally = Tally()

    def run(self, part: Sequence[Probe]) -> int:
        """Run some probes and return how many."""
        runner = _follow if self._predictor.task.generates else _classify
        if isinstance(self._predictor.engine, SamplingEngine):
            runner = _compare_written
        done = runner(part, self._predictor, self._limits, self._tally, self._begun)
        self._begun.num_probes += done
        return done

    def table(self) -> ParityTable:
        """Return what came out so far."""
        begun = self._begun
        table = replace(begun, checks=[*begun.checks], differences=[*begun.differences])
        _add_lines(table, self._tally, self._limits, self._predictor.task)
        return table


def _add_lines(table: ParityTable, tally: Tally, limits: Limits, task: Task) -> None:
    count = max(1, table.num_probes)
    scaled = limits.tolerance * max(1.0, tally.largest_value)
    table.at_least("inputs_equal", tally.inputs_equal / count, 1.0)
    agreement = tally.agreeing / max(1, tally.compared)
    if task.generates:
        table.at_most("log_prob_difference", tally.largest_difference, scaled)
        table.at_least("token_agreement", agreement, limits.min_tokens)
        table.at_least("texts_equal", tally.texts_equal / count, limits.min_texts)
    elif task.embeds:
        distance = 1 - limits.min_cosine
        # No number of two vectors of length 1 differs by more than they are apart.
        apart = max(1.0, tally.largest_value) * float(np.sqrt(2 * distance))
        table.at_most("vector_difference", tally.largest_difference, min(scaled, apart))
        table.at_most("cosine_distance", 1 - tally.least_cosine, distance)
    else:
        table.at_most("logit_difference", tally.largest_difference, scaled)
        if task.decides:
            table.at_least("label_agreement", agreement, limits.min_labels)


def _inputs(part: Sequence[Probe], predictor: Predictor, tally: Tally) -> None:
    """Count the probes whose text still becomes the same tokens."""
    for probe in part:
        read, recorded = predictor.encode(probe.row), probe.example
        equal = np.array_equal(read.input_ids_T, recorded.input_ids_T)
        if recorded.token_type_ids_T is not None and read.token_type_ids_T is not None:
            equal &= np.array_equal(read.token_type_ids_T, recorded.token_type_ids_T)
        tally.inputs_equal += int(equal)


def cosine(one_D: np.ndarray, other_D: np.ndarray) -> float:
    """Return the cosine of the angle between two vectors, 0 where one has no direction."""
    lengths = float(np.linalg.norm(one_D) * np.linalg.norm(other_D))
    return float(one_D @ other_D) / lengths if lengths else 0.0


def largest(values: np.ndarray) -> float:
    """Return the largest absolute value, 0 of nothing; not a number stays so."""
    return float(np.abs(values).max()) if values.size else 0.0


def _classify(
    part: Sequence[Probe],
    predictor: Predictor,
    limits: Limits,
    tally: Tally,
    table: ParityTable,
) -> int:
    """Compare all logits, and the label of each text or token; of texts their vectors."""
    _inputs(part, predictor, tally)
    examples = [probe.example for probe in part]
    logits = logits_of(
        examples, predictor.engine, predictor.task, predictor.contract, predictor.adapter
    )
    for probe, found in zip(part, logits, strict=True):
        assert probe.logits is not None
        if found.shape != probe.logits.shape:
            tally.add_difference(float("inf"))
            tally.least_cosine = -1.0
            tally.compared += 1
            continue
        difference = largest(found - probe.logits)
        tally.add_difference(difference)
        tally.largest_value = max(tally.largest_value, largest(probe.logits))
        if predictor.task.embeds:
            tally.add_cosine(found, probe.logits)
        if not predictor.task.decides:
            if difference > limits.tolerance * max(1.0, largest(probe.logits)):
                table.differ(probe, _answer(found, probe, predictor))
            continue
        agreeing = _labels_agree(found, probe.logits, predictor.contract, limits)
        tally.agreeing += int(agreeing.sum())
        tally.compared += agreeing.size
        if not agreeing.all():
            named = predictor.contract.labels or predictor.contract.multi_label
            found_answer = _label(found, predictor) if named else _answer(found, probe, predictor)
            table.differ(probe, found_answer)
    return len(part)


def _labels_agree(
    found: np.ndarray, recorded: np.ndarray, contract: Any, limits: Limits
) -> np.ndarray:
    """Return where the decision is the same, or was too close to call."""
    close = limits.close_for(recorded)
    if contract.multi_label:
        border = np.log(contract.threshold / (1 - contract.threshold))
        same_L: np.ndarray = (found >= border) == (recorded >= border)
        return same_L | (np.abs(recorded - border) <= close)
    ordered = np.sort(recorded, axis=-1)
    margin = ordered[..., -1] - ordered[..., -2] if recorded.shape[-1] > 1 else np.inf
    same = found.argmax(axis=-1) == recorded.argmax(axis=-1)
    return np.atleast_1d(same | (np.asarray(margin) <= close))


def _answer(logits: np.ndarray, probe: Probe, predictor: Predictor) -> dict[str, Any]:
    """Return what the model answers with these logits."""
    output = Output(logits=logits)
    return predictor.task.answer(output, probe.row, predictor.tokenizer, predictor.contract)


def _label(logits: np.ndarray, predictor: Predictor) -> Any:
    if predictor.contract.multi_label:
        return {"logits": [round(float(v), 4) for v in logits]}
    best = np.atleast_1d(logits.argmax(axis=-1))
    labels = predictor.contract.labels
    return [labels[i] if i < len(labels) else int(i) for i in best]


def _follow(
    part: Sequence[Probe],
    predictor: Predictor,
    limits: Limits,
    tally: Tally,
    table: ParityTable,
) -> int:
    """Lead the model along the recorded continuations and compare every position."""
    _inputs(part, predictor, tally)
    place = [0] * len(part)
    same = [True] * len(part)

    def choose(row: int, log_probs_V: np.ndarray) -> int | None:
        probe = part[row]
        assert probe.token_ids_U is not None
        assert probe.top_ids_UK is not None
        assert probe.top_log_probs_UK is not None
        here = place[row]
        ids_K, expected_K = probe.top_ids_UK[here], probe.top_log_probs_UK[here]
        if ids_K.max() >= len(log_probs_V):
            difference = float("inf")
        else:
            difference = largest(log_probs_V[ids_K] - expected_K)
        tally.add_difference(difference)
        tally.largest_value = max(tally.largest_value, largest(expected_K))
        agrees = _token_agrees(log_probs_V, ids_K, expected_K, limits)
        tally.agreeing += int(agrees)
        tally.compared += 1
        same[row] = same[row] and agrees
        place[row] += 1
        return int(probe.token_ids_U[here]) if place[row] < len(probe.token_ids_U) else None

    walk(predictor.engine, [probe.input_ids_T for probe in part], choose, predictor.adapter)
    for row, probe in enumerate(part):
        # A model whose context ends early cannot say the rest.
        complete = probe.token_ids_U is not None and place[row] == len(probe.token_ids_U)
        decoded = _decoded(probe, predictor)
        tally.texts_equal += int(same[row] and complete and decoded == probe.answer.get("text"))
        if not same[row] or decoded != probe.answer.get("text"):
            table.differ(probe, {"text": decoded})
    return len(part)


def _compare_written(
    part: Sequence[Probe],
    predictor: Predictor,
    limits: Limits,
    tally: Tally,
    table: ParityTable,
) -> int:
    """Compare the texts of a model that nobody can lead, up to where they differ."""
    _inputs(part, predictor, tally)
    for probe, found in zip(part, compare_texts(part, predictor, limits.close_for), strict=True):
        assert probe.top_log_probs_UK is not None
        tally.add_difference(largest(found.differences_U))
        tally.largest_value = max(tally.largest_value, largest(probe.top_log_probs_UK))
        tally.agreeing += found.num_same
        tally.compared += found.num_same + int(found.differs)
        tally.texts_equal += int(not found.differs)
        if found.differs:
            table.differ(probe, {"text": predictor.tokenizer.decode(found.ids)})
    return len(part)


def _token_agrees(
    log_probs_V: np.ndarray, ids_K: np.ndarray, expected_K: np.ndarray, limits: Limits
) -> bool:
    if int(log_probs_V.argmax()) == int(ids_K[0]) and np.isfinite(log_probs_V[ids_K[0]]):
        return True
    close = limits.close_for(expected_K)
    return len(expected_K) > 1 and bool(expected_K[0] - expected_K[1] <= close)


def _decoded(probe: Probe, predictor: Predictor) -> str:
    """Return what the model's tokenizer makes of the recorded tokens."""
    from llmwright.inference.proof.probes import output_of

    output = output_of(probe, predictor.contract)
    answer = predictor.task.answer(output, probe.row, predictor.tokenizer, predictor.contract)
    return str(answer["text"])
