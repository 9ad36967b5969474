"""Bodies of requests to the server's documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from llmwright.serving.bodies.formats import Body
from llmwright.serving.bodies.requests import Options, Text

MAX_QUESTION_CHARS = 10_000
MAX_PASSAGES = 100


def _said(text: str) -> str:
    """Refuse a question of white space alone."""
    if not text.strip():
        raise PydanticCustomError("string_too_short", "blank", {"min_length": 1})
    return text


Question = Annotated[Text, StringConstraints(max_length=MAX_QUESTION_CHARS), AfterValidator(_said)]
Count = Annotated[int, Field(ge=1, le=MAX_PASSAGES)]


class SearchBody(Body):
    """A request for passages."""

    query: Question
    """A question, or words to look for."""
    top_k: Count | None = None
    """Most passages; the server's default when not given."""
    user: str | None = None
    """Accepted and neither used nor kept."""


class AnswerBody(Options):
    """A request for an answer from the documents."""

    question: Question
    """The question."""
    passages: Count | None = None
    """Most passages that the answer is made from; the server's default when not given."""
    model: str | None = None
    """Model that writes the answer; the first that converses when not given."""
    user: str | None = None
    """Accepted and neither used nor kept."""
