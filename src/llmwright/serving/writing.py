"""How one text is written for a request, and how stop strings end it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from llmwright.inference.predictor import TokenScore

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Writing:
    """What a request says about the text it wants; what it leaves out is the contract's default.

    Attributes:
        generation: What the request says of `sampling.Settings`, by the names there.
        stop: Strings that end the text; they are not part of it.
        num_scores: Log-probabilities of each written token, and of so many of the likeliest of its
            place; none when None.
        may_cut: Whether a prompt that is too long is cut, which the answer says, or refused.
    """

    generation: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    num_scores: int | None = None
    may_cut: bool = False


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: What is new.
        prompt_tokens: Tokens the model read.
        completion_tokens: Tokens written so far.
        finish_reason: Why the text ended, in its last piece.
        truncated: Whether the prompt was cut.
        scores: Of its tokens, where they were asked for.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None = None
    truncated: bool = False
    scores: tuple[TokenScore, ...] | None = None


def joined(pieces: Sequence[Piece]) -> Piece:
    """Return all pieces of a text as one; tokens of a stop string are no part of it."""
    text = "".join(piece.text for piece in pieces)
    scores: list[TokenScore] = []
    length = 0
    for score in (score for piece in pieces for score in piece.scores or ()):
        if length < len(text):
            scores.append(score)
        length += len(score.text)
    kept = None if pieces[-1].scores is None else tuple(scores)
    return replace(pieces[-1], text=text, scores=kept)


def until_stop(pieces: Iterator[Piece], stops: Sequence[str]) -> Iterator[Piece]:
    """Yield pieces up to the first stop string, which may span several pieces.

    Text that could be the beginning of a stop string is held back until it is known not to be.
    """
    if not stops:
        yield from pieces
        return
    held = ""
    for piece in pieces:
        held += piece.text
        found = [place for stop in stops if (place := held.find(stop)) >= 0]
        if found:
            yield replace(piece, text=held[: min(found)], finish_reason="stop")
            return
        keep = 0 if piece.finish_reason else _open_end(held, stops)
        cut = len(held) - keep
        yield replace(piece, text=held[:cut])
        held = held[cut:]


def _open_end(text: str, stops: Sequence[str]) -> int:
    """Return how many last characters of a text may be the beginning of a stop string."""
    longest = max(len(stop) for stop in stops) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0
