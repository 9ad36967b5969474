"""The one loop that writes texts, whatever runs the model.

Shapes: B rows, R rows still being written, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmwright.inference.engines.engine import Decoding, Engine
from llmwright.inference.writing.sampling import Sampler, Settings
from llmwright.tasks.task import Output

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Token:
    """One chosen token.

    Attributes:
        row: Position of its text among the prompts.
        token_id: The token.
        finish_reason: Set on the last token of a text: ``stop`` (this token is a stop token and no
            part of the text) or ``length`` (no more tokens are wanted or fit).
        logits_V: What it was chosen from; valid until the next token is asked for.
    """

    row: int
    token_id: int
    finish_reason: FinishReason | None
    logits_V: np.ndarray


def generate(
    engine: Engine,
    prompts: Sequence[np.ndarray],
    settings: Sequence[Settings],
    places: Sequence[int] | None = None,
) -> Iterator[Token]:
    """Yield the tokens of all texts in the order they are chosen.

    Args:
        engine: Runs the model.
        prompts: Token ids of each prompt.
        settings: How each text is written.
        places: Position of each text in its request, which decides its random numbers; the order of
            the prompts when not given.
    """
    places = range(len(prompts)) if places is None else places
    samplers = [Sampler(s, place) for s, place in zip(settings, places, strict=True)]
    state = engine.begin(prompts, [sampler.random for sampler in samplers])
    try:
        yield from _written(state, samplers, settings)
    finally:
        state.close()


def _written(
    state: Decoding, samplers: Sequence[Sampler], settings: Sequence[Settings]
) -> Iterator[Token]:
    written = [0] * len(samplers)
    rows_R = np.arange(len(samplers))
    while len(rows_R):
        chosen_R: list[int] = []
        going_R: list[bool] = []
        for place, row in enumerate(rows_R.tolist()):
            # A text ends with the stop token or a full count, whichever comes first; the stop
            # token behind a full count is not looked for.
            token = samplers[row].pick(state.logits_BV[place])
            finish = _finish(token, settings[row], written[row] + 1, int(state.room_B[place]))
            yield Token(row, token, finish, state.logits_BV[place])
            written[row] += 1
            chosen_R.append(token)
            going_R.append(finish is None)
        keep_R = np.flatnonzero(going_R)
        if len(keep_R) == 0:
            return
        if len(keep_R) < len(rows_R):
            state.keep(keep_R)
        rows_R = rows_R[keep_R]
        state.advance(np.array(chosen_R, dtype=np.int64)[keep_R])


def _finish(token: int, settings: Settings, written: int, room: int) -> FinishReason | None:
    if token in settings.stop_token_ids:
        return "stop"
    # The newest token needs no place of its own before it is read again.
    if written >= settings.max_new_tokens or room <= 0:
        return "length"
    return None


def write_all(
    engine: Engine,
    prompts: Sequence[np.ndarray],
    settings: Sequence[Settings],
    places: Sequence[int] | None = None,
) -> list[Output]:
    """Return the finished texts of all prompts, in their order; arguments as in `generate`."""
    token_ids: list[list[int]] = [[] for _ in prompts]
    reasons: list[FinishReason] = ["length"] * len(prompts)
    for token in generate(engine, prompts, settings, places):
        if token.finish_reason is not None:
            reasons[token.row] = token.finish_reason
        if token.finish_reason != "stop":
            token_ids[token.row].append(token.token_id)
    return [
        Output(token_ids=ids, finish_reason=reason)
        for ids, reason in zip(token_ids, reasons, strict=True)
    ]
