"""How one text is written for a request, and the pieces of it that go out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from llmwright.inference.answers import TokenScore

# What a guard ended has the reason "content_filter".
FinishReason = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True)
class Writing:
    """What a request says about the text it wants; what it leaves out is the contract's default.

    Attributes:
        generation: What the request says of `sampling.Settings`, by the names there.
        num_scores: Log-probabilities of each written token, and of so many of the likeliest of its
            place; none when None.
        may_cut: Whether a prompt that is too long is cut, which the answer says, or refused.
        tells_ids: Whether the ids of the prompt's tokens are told.
    """

    generation: Mapping[str, Any] = field(default_factory=dict)
    num_scores: int | None = None
    may_cut: bool = False
    tells_ids: bool = False


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
        token_ids: Its tokens.
        prompt_ids: Tokens of the prompt, where they are told.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None = None
    truncated: bool = False
    scores: tuple[TokenScore, ...] | None = None
    token_ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] | None = None


def joined(pieces: Sequence[Piece]) -> Piece:
    """Return all pieces of a text as one."""
    scores = None
    if pieces[-1].scores is not None:
        scores = tuple(score for piece in pieces for score in piece.scores or ())
    return replace(
        pieces[-1],
        text="".join(piece.text for piece in pieces),
        scores=scores,
        token_ids=tuple(token for piece in pieces for token in piece.token_ids),
    )
