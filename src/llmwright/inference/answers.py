"""What comes out of asking a model: whole answers, and texts piece by piece with their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmwright.inference.writing.generation import FinishReason


@dataclass(frozen=True)
class Prediction:
    """One answer and what it took.

    Attributes:
        answer: What `Task.answer` says, and ``truncated: True`` where the input was cut.
        num_input_tokens: Tokens that were read.
        num_output_tokens: Tokens that were written, the stop token not counted.
    """

    answer: dict[str, Any]
    num_input_tokens: int
    num_output_tokens: int


@dataclass(frozen=True)
class TokenScore:
    """How likely a written token was.

    Attributes:
        token_id: The token.
        text: What it adds to the text; empty within a character of several tokens.
        log_prob: Natural logarithm of its probability, as the model gave it: before temperature,
            top-k and top-p.
        top: The likeliest tokens of its place with theirs, the likeliest first.
    """

    token_id: int
    text: str
    log_prob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Delta:
    """What one token adds to a text that is being written.

    Attributes:
        text: New characters, never a part of one; often empty.
        token_ids: The tokens that they come from.
        num_input_tokens: Tokens of the prompt.
        num_output_tokens: Tokens written so far.
        finish_reason: Set in the last piece.
        scores: Of these tokens, where they were asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    num_input_tokens: int
    num_output_tokens: int
    finish_reason: FinishReason | None = None
    scores: tuple[TokenScore, ...] | None = None
