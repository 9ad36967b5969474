"""The probes of a model that samples by itself: its own greedy texts beside the recorded ones.

Nobody can lead such a model along a recorded text, so tokens are compared up to the first that
differs; one that was a close race does not count, nor what follows it.

Shapes: U written tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.probes import Probe
from llmwright.inference.writing.generation import Told, generate
from llmwright.inference.writing.sampling import Settings


@dataclass(frozen=True)
class Written:
    """How a text compares with the recorded one.

    Attributes:
        ids: Its tokens.
        num_same: How many it has in common with the record, from the beginning.
        differs: Whether it goes on otherwise where the record was decided.
        differences_U: Of the log-probabilities of the tokens in common, as far as they were told.
    """

    ids: list[int]
    num_same: int
    differs: bool
    differences_U: np.ndarray


def compare_texts(
    part: Sequence[Probe], predictor: Predictor, close_for: Callable[[np.ndarray], float]
) -> list[Written]:
    """Have some probes' texts written and compare them.

    Args:
        part: The probes.
        predictor: The model.
        close_for: Returns, for the recorded log-probabilities of a place, the lead of its likeliest
            token up to which either is right.
    """
    stops = predictor.contract.stop_token_ids
    compared = []
    for probe, found in zip(part, _texts(part, predictor), strict=True):
        assert probe.token_ids_U is not None
        assert probe.top_log_probs_UK is not None
        recorded = probe.token_ids_U.tolist()
        recorded = recorded[:-1] if recorded and recorded[-1] in stops else recorded
        ids = [token for token, _ in found]
        same = _common(ids, recorded)
        told = np.array([value for _, value in found[:same]], dtype=np.float64)
        apart_U = np.abs(told - probe.top_log_probs_UK[:same, 0])
        differs = ids != recorded and not _was_close(probe, same, close_for)
        compared.append(Written(ids, same, differs, apart_U[~np.isnan(told)]))
    return compared


def _texts(part: Sequence[Probe], predictor: Predictor) -> list[list[tuple[int, float | None]]]:
    settings = [
        Settings(
            max_new_tokens=len(probe.token_ids_U) if probe.token_ids_U is not None else 1,
            stop_token_ids=frozenset(predictor.contract.stop_token_ids),
            num_scores=1,
            adapter=predictor.adapter,
        )
        for probe in part
    ]
    found: list[list[tuple[int, float | None]]] = [[] for _ in part]
    prompts = [probe.input_ids_T for probe in part]
    for token in generate(predictor.engine, prompts, settings):
        if token.failure is not None:
            raise token.failure
        if token.is_text:
            told = token.told or Told()
            found[token.row].append((token.token_id, told.log_prob))
    return found


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    differing = (place for place, (a, b) in enumerate(pairs) if a != b)
    return next(differing, min(len(one), len(other)))


def _was_close(probe: Probe, place: int, close_for: Callable[[np.ndarray], float]) -> bool:
    """Say whether the record was undecided at a place, its stop token included."""
    assert probe.top_log_probs_UK is not None
    if place >= len(probe.top_log_probs_UK):
        return False
    best_K = probe.top_log_probs_UK[place]
    return len(best_K) > 1 and bool(best_K[0] - best_K[1] <= close_for(best_K))
