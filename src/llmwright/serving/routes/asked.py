"""What the routes that write texts share: how a text is written, what a stream holds, usage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from llmwright.core.errors import LLMwrightError
from llmwright.serving.bodies.requests import TextBody
from llmwright.serving.door.errors import ApiError
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.writing import Piece, Writing


async def writing_of(body: TextBody, hosted: Hosted) -> Writing:
    """Return how a text is to be written; refuse what a single field's bounds cannot tell.

    Raises:
        ApiError: More tokens than the server allows, or stream options without a stream (400).
        LLMwrightError: The schema cannot be followed (400).
    """
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "needs_stream", param="stream_options")
    writing = hosted.bounded(body.writing())
    schema = body.schema_of()
    if schema is None:
        return writing
    try:
        # Beside the event loop, and not in the model's thread: texts being written go on.
        grammar = await run_in_threadpool(hosted.model.predictor.grammars.compile, schema)
    except LLMwrightError as error:
        error.where = "response_format"
        raise
    return replace(writing, generation={**writing.generation, "grammar": grammar})


def wants_usage(body: TextBody) -> bool:
    """Say whether a stream ends with a chunk of token counts."""
    return body.stream_options is not None and body.stream_options.include_usage


def usage(pieces: Iterable[Piece], num_texts: int = 1) -> dict[str, int]:
    """Return the token counts of texts.

    Args:
        pieces: The last piece of each.
        num_texts: Texts of one prompt, which is counted once.
    """
    found = list(pieces)
    prompt = sum(piece.prompt_tokens for piece in found[::num_texts])
    completion = sum(piece.completion_tokens for piece in found)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def told_ids(piece: Piece) -> dict[str, Any]:
    """Return the ids of a piece's tokens, where they are told."""
    return {} if piece.prompt_ids is None else {"token_ids": list(piece.token_ids)}
