"""Bodies of `/tokenize` and `/detokenize`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmwright.serving.bodies.answers import Answer
from llmwright.serving.bodies.formats import Body
from llmwright.serving.bodies.requests import Message, Some, Text


class TokenizeBody(Body):
    """A request for the tokens of a text or a conversation; one of both is given."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    prompt: Text | None = None
    """A text."""
    messages: Annotated[list[Message], Some] | None = None
    """A conversation, written with the model's chat template up to where the assistant answers."""
    add_special_tokens: bool = True
    """Whether a text is read as the model reads it, cleaned and framed by special tokens; else by
    the tokenizer alone."""


class Tokenized(Answer):
    """Answer of `/tokenize`."""

    tokens: list[int]
    """Token ids, never cut."""
    token_strs: list[str]
    """The tokens as the vocabulary writes them."""
    count: int
    """How many there are."""
    max_model_len: int
    """Most tokens the model reads."""


class DetokenizeBody(Body):
    """A request for the text of tokens."""

    model: str | None = None
    """Name of the model, as in `/v1/models`; may be left out."""
    tokens: Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(fail_fast=True)]
    """Token ids."""
    skip_special_tokens: bool = False
    """Leave special tokens out."""


class Detokenized(Answer):
    """Answer of `/detokenize`."""

    prompt: str
    """The text."""
