"""Log-probabilities of written tokens in OpenAI's two forms."""

from __future__ import annotations

from typing import Any

from llmwright.serving.writing import Piece


def completion_log_probs(piece: Piece, place: int = 0) -> dict[str, Any] | None:
    """Return what ``/v1/completions`` says; None where it was not asked for.

    Args:
        piece: A text, or a part of it.
        place: Characters of the text before it.
    """
    if piece.scores is None:
        return None
    places: list[int] = []
    length = place
    for score in piece.scores:
        places.append(length)
        length += len(score.text)
    return {
        "tokens": [score.text for score in piece.scores],
        "token_logprobs": [score.log_prob for score in piece.scores],
        "top_logprobs": [dict(score.top) for score in piece.scores],
        "text_offset": places,
    }


def chat_log_probs(piece: Piece) -> dict[str, Any] | None:
    """Return what ``/v1/chat/completions`` says; None where it was not asked for."""
    if piece.scores is None:
        return None
    content = [
        {
            **_entry(score.text, score.log_prob),
            "top_logprobs": [_entry(text, log_prob) for text, log_prob in score.top],
        }
        for score in piece.scores
    ]
    return {"content": content, "refusal": None}


def _entry(text: str, log_prob: float) -> dict[str, Any]:
    return {"token": text, "logprob": log_prob, "bytes": list(text.encode())}
