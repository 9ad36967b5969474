"""The probes of a model asked over HTTP: by text and labels, and by log-probabilities where given.

Shapes: U written tokens, K kept tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmwright.inference.endpoint_engine import EndpointPredictor
from llmwright.inference.parity import Limits, ParityTable, limits_for
from llmwright.inference.probes import MAX_SECONDS, Probe, Probes, run_bounded

# Facts that a server of LLMwright tells about its model.
TOLD = ("task", "labels")


def compare_remote(
    predictor: EndpointPredictor,
    probes: Probes,
    limits: Limits | None = None,
    max_seconds: float = MAX_SECONDS,
) -> ParityTable:
    """Run the probes on a server and return the table.

    Args:
        predictor: Asks the server.
        probes: What was recorded.
        limits: What is accepted of probabilities and answers.
        max_seconds: No further probe begins after this time, once 4 were run.
    """
    limits = limits or limits_for("url")
    table = ParityTable("endpoint", "url", num_recorded=len(probes.probes))
    for name in TOLD:
        if name in predictor.card:
            table.equal(name, predictor.card[name], probes.identity[name])
    agreeing = 0
    differences: list[float] = []
    for part in run_bounded(probes.probes, list, max_seconds):
        for probe in part:
            found = predictor.ask_row(probe.row, _options(probe))
            agrees = _agrees(found, probe, limits, probes.identity)
            agreeing += int(agrees)
            table.num_probes += 1
            differences += _differences(found, probe)
            if not agrees:
                table.differ(probe, {k: v for k, v in found.items() if k in probe.answer})
    if differences:
        table.at_most("score_difference", float(np.max(differences)), limits.tolerance)
    share = agreeing / max(1, table.num_probes)
    generates = any(probe.token_ids_U is not None for probe in probes.probes)
    name = "texts_equal" if generates else "label_agreement"
    table.at_least(name, share, limits.min_agreement)
    return table


def _options(probe: Probe) -> dict[str, Any]:
    if probe.token_ids_U is None:
        return {}
    return {"max_new_tokens": len(probe.token_ids_U), "temperature": 0.0}


def _agrees(found: dict[str, Any], probe: Probe, limits: Limits, identity: dict[str, Any]) -> bool:
    """Say whether an answer is the recorded one, or differs where the record was a close race."""
    if probe.top_log_probs_UK is not None:
        leads_U = probe.top_log_probs_UK[:, 0] - probe.top_log_probs_UK[:, 1]
        same = found.get("text") == probe.answer["text"]
        return bool(same or leads_U.min() <= limits.tolerance)
    decided = [name for name in ("label", "labels", "tags") if name in probe.answer]
    if all(found.get(name) == probe.answer[name] for name in decided):
        return True
    return _was_close(probe, limits, identity)


def _was_close(probe: Probe, limits: Limits, identity: dict[str, Any]) -> bool:
    """Say whether some recorded decision was within the tolerance."""
    assert probe.logits is not None
    if identity["multi_label"]:
        border = np.log(identity["threshold"] / (1 - identity["threshold"]))
        return bool(np.abs(probe.logits - border).min() <= limits.tolerance)
    ordered = np.sort(np.atleast_2d(probe.logits), axis=-1)
    if ordered.shape[-1] < 2:
        return False
    return bool((ordered[:, -1] - ordered[:, -2]).min() <= limits.tolerance)


def _differences(found: dict[str, Any], probe: Probe) -> list[float]:
    """Return how far probabilities are from the recorded ones, wherever the server gives them."""
    scores, recorded = found.get("scores"), probe.answer.get("scores")
    if isinstance(scores, dict) and isinstance(recorded, dict):
        if set(scores) != set(recorded):
            return [float("inf")]
        return [abs(float(scores[name]) - recorded[name]) for name in recorded]
    if isinstance(scores, list) and isinstance(recorded, list):
        if len(scores) != len(recorded):
            return [float("inf")]
        return [abs(float(a) - float(b)) for a, b in zip(scores, recorded, strict=True)]
    return _log_prob_differences(found.get("logprobs"), probe)


def _log_prob_differences(log_probs: Any, probe: Probe) -> list[float]:
    """Return the differences of the written tokens' log-probabilities in OpenAI's two forms.

    Only while the texts are the same: behind the first difference other tokens are compared.
    """
    if not isinstance(log_probs, dict) or probe.top_log_probs_UK is None:
        return []
    if "token_logprobs" in log_probs:
        tokens, values = log_probs.get("tokens", []), log_probs["token_logprobs"]
    else:
        content = log_probs.get("content") or []
        tokens = [entry["token"] for entry in content]
        values = [entry["logprob"] for entry in content]
    expected_U = probe.top_log_probs_UK[:, 0]
    written = ""
    found: list[float] = []
    for token, value, expected in zip(tokens, values, expected_U, strict=False):
        written += token
        if value is None or not str(probe.answer["text"]).startswith(written):
            break
        found.append(abs(float(value) - float(expected)))
    return found
