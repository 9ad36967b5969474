"""The probes of a model asked over HTTP: by text and labels, and by log-probabilities where given.

A text is not teacher-forced here, so one close race may rightly change all that follows it. An
answer that differs therefore counts as the same only where the record was close at the very place
of the first difference.

Shapes: U written tokens, T read tokens, L labels, K kept tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.inference.endpoint import Endpoint
from llmwright.inference.proof.parity import Limits, ParityTable, cosine, limits_for
from llmwright.inference.proof.probes import MAX_SECONDS, Probe, Probes, run_bounded
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS
from llmwright.tasks.text_regression import numbers_of
from llmwright.tasks.token_classification import first_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Facts that a server of LLMwright tells about its model.
TOLD = ("task", "labels")
# What an unfinished character decodes to.
UNFINISHED = "\ufffd"


def compare_remote(
    endpoint: Endpoint,
    probes: Probes,
    tokenizer: PreTrainedTokenizerFast,
    limits: Limits | None = None,
    max_seconds: float = MAX_SECONDS,
) -> ParityTable:
    """Run the probes on a server and return the table.

    Args:
        endpoint: Asks the server.
        probes: What was recorded.
        tokenizer: The recorded model's own.
        limits: What is accepted of probabilities and answers.
        max_seconds: No further probe begins after this time, once 4 were run.
    """
    limits = limits or limits_for("url")
    table = ParityTable("endpoint", "url", num_recorded=len(probes.probes))
    for name in TOLD:
        if name in endpoint.card:
            table.equal(name, endpoint.card[name], probes.identity[name])
    judge = Judge(endpoint.contract, tokenizer, limits)
    agreeing: list[bool] = []
    differences: list[float] = []
    with_log_probs = 0
    for (probe,) in run_bounded(probes.probes, list, max_seconds, size=1):
        found = endpoint.ask(probe.row, _length(probe))
        agrees = judge.agreement(found, probe)
        agreeing += agrees
        table.num_probes += 1
        with_log_probs += "log_probs" in found
        differences += _differences(found, probe)
        if not all(agrees):
            table.differ(probe, {k: v for k, v in found.items() if k in probe.answer})
    task = TASKS.get(endpoint.contract.task)
    if differences:
        name = "vector_difference" if task.embeds else "score_difference"
        table.at_most(name, float(np.max(differences)), limits.tolerance)
    generates = task.generates
    if generates:
        share = with_log_probs / max(1, table.num_probes)
        table.at_least("log_probs_given", share, 0.0)
    name = "texts_equal" if generates else "label_agreement"
    name = "vector_agreement" if task.embeds else name
    limit = limits.min_texts if generates else limits.min_labels
    table.at_least(name, sum(agreeing) / max(1, len(agreeing)), limit)
    return table


def _length(probe: Probe) -> int | None:
    return None if probe.token_ids_U is None else len(probe.token_ids_U)


@dataclass(frozen=True)
class Judge:
    """Says whether answers are the recorded ones, or differ where the record was a close race.

    Attributes:
        contract: The recorded model's contract.
        tokenizer: Its tokenizer.
        limits: What counts as close.
    """

    contract: Contract
    tokenizer: PreTrainedTokenizerFast
    limits: Limits

    def agreement(self, found: dict[str, Any], probe: Probe) -> list[bool]:
        """Return one verdict for a text or its label, or one for each tag."""
        if probe.logits is None:
            return [self._same_text(found, probe)]
        if "embedding" in probe.answer:
            return [self._same_vector(found["embedding"], probe)]
        for name in ("value", "score"):
            if name in probe.answer:
                return [self._same_number(found.get(name), probe.answer[name], probe)]
        if "fills" in probe.answer:
            return self._same_fills(found.get("fills"), probe)
        if "tags" in probe.answer:
            return self._same_tags(found.get("tags"), probe)
        if self.contract.multi_label:
            return [self._same_labels(found.get("labels"), probe)]
        same = found.get("label") == probe.answer["label"]
        return [same or bool(self._close(probe.logits[None])[0])]

    def _close(self, logits_TL: np.ndarray) -> np.ndarray:
        """Return where the two largest logits are almost equal."""
        if logits_TL.shape[-1] < 2:
            return np.zeros(len(logits_TL), dtype=bool)
        ordered_TL = np.sort(logits_TL, axis=-1)
        close_T: np.ndarray = ordered_TL[:, -1] - ordered_TL[:, -2] <= self.limits.lead
        return close_T

    def _same_vector(self, found: list[float], probe: Probe) -> bool:
        assert probe.logits is not None
        if len(found) != len(probe.logits):
            return False
        return cosine(np.array(found), probe.logits) >= self.limits.min_cosine

    def _same_labels(self, found: Any, probe: Probe) -> bool:
        assert probe.logits is not None
        if not isinstance(found, list):
            return False
        threshold = self.contract.threshold
        border = np.log(threshold / (1 - threshold))
        close = np.abs(probe.logits - border) <= self.limits.lead
        changed = set(map(str, found)) ^ set(probe.answer["labels"])
        undecided = {name for name, near in zip(self.contract.labels, close, strict=True) if near}
        return changed <= undecided

    def _same_number(self, found: Any, recorded: float, probe: Probe) -> bool:
        """Compare a number in the user's unit, by what the limit is there."""
        numbers = numbers_of(self.contract)
        assert probe.logits is not None
        scale = numbers.std * max(1.0, abs(float(probe.logits[0])))
        if isinstance(found, bool) or not isinstance(found, int | float):
            return False
        return bool(abs(found - recorded) <= self.limits.tolerance * scale)

    def _same_fills(self, found: Any, probe: Probe) -> list[bool]:
        """Compare the best token of each mask."""
        assert probe.logits is not None
        recorded = probe.answer["fills"]
        if not isinstance(found, list) or len(found) != len(recorded):
            return [False] * len(recorded)
        close_M = self._close(probe.logits)
        pairs = zip(found, recorded, close_M, strict=True)
        return [bool(close) or _best(one) == _best(other) for one, other, close in pairs]

    def _same_tags(self, found: Any, probe: Probe) -> list[bool]:
        assert probe.logits is not None
        recorded = probe.answer["tags"]
        if not isinstance(found, list) or len(found) != len(recorded):
            return [False] * len(recorded)
        task = TASKS.get(self.contract.task)()
        word_ids_T = task.encode_input(probe.row, self.tokenizer, self.contract).word_ids_T
        same = [one == other for one, other in zip(found, recorded, strict=True)]
        if word_ids_T is None or len(word_ids_T) != len(probe.logits):
            return same
        close_T = self._close(probe.logits)
        for position in first_pieces(word_ids_T):
            same[word_ids_T[position]] |= bool(close_T[position])
        return same

    def _same_text(self, found: dict[str, Any], probe: Probe) -> bool:
        """Compare a text and why it ended: a server that lost its stop token goes on or is cut."""
        reason = found.get("finish_reason")
        same_end = reason is None or reason == probe.answer["finish_reason"]
        if same_end and found.get("text") == probe.answer["text"]:
            return True
        assert probe.top_log_probs_UK is not None
        places = self._first_difference(str(found.get("text")), probe)
        leads_U = probe.top_log_probs_UK[:, 0] - probe.top_log_probs_UK[:, 1]
        return bool(leads_U[places].min() <= self.limits.lead)

    def _first_difference(self, text: str, probe: Probe) -> list[int]:
        """Return the recorded token that a text does not go on with.

        They are several where tokens that are parts of one character leave it open which.
        """
        assert probe.token_ids_U is not None
        ids = probe.token_ids_U.tolist()
        before_U = [
            self.tokenizer.decode(ids[:place], skip_special_tokens=True).rstrip(UNFINISHED)
            for place in range(len(ids))
        ]
        longest = max((before for before in before_U if text.startswith(before)), key=len)
        return [place for place, before in enumerate(before_U) if before == longest]


def _best(fills: Any) -> Any:
    """Return the likeliest token of a mask; None where a server says something else."""
    first = fills[0] if isinstance(fills, list) and fills else None
    return first.get("token") if isinstance(first, dict) else None


def _differences(found: dict[str, Any], probe: Probe) -> list[float]:
    """Return how far probabilities are from the recorded ones, wherever the server gives them."""
    names = "embedding", "scores"
    given = next((name for name in names if name in probe.answer), "scores")
    scores, recorded = found.get(given), probe.answer.get(given)
    if isinstance(scores, dict) and isinstance(recorded, dict):
        if set(scores) != set(recorded):
            return [float("inf")]
        return [abs(float(scores[name]) - recorded[name]) for name in recorded]
    if isinstance(scores, list) and isinstance(recorded, list):
        if len(scores) != len(recorded):
            return [float("inf")]
        return [abs(float(a) - float(b)) for a, b in zip(scores, recorded, strict=True)]
    return _log_prob_differences(found, probe)


def _log_prob_differences(found: dict[str, Any], probe: Probe) -> list[float]:
    """Return the differences of the written tokens' log-probabilities.

    Only while the texts are the same: behind the first difference other tokens are compared.
    """
    if probe.top_log_probs_UK is None:
        return []
    pairs: Sequence[tuple[str, float | None]] = found.get("log_probs", [])
    same_text = found.get("text") == probe.answer["text"]
    written = ""
    differences: list[float] = []
    for (token, value), expected in zip(pairs, probe.top_log_probs_UK[:, 0], strict=False):
        written += token
        if value is None or not (same_text or str(probe.answer["text"]).startswith(written)):
            break
        differences.append(abs(value - float(expected)))
    return differences
