"""Turning tokens into text while they come, so that the pieces add up to the whole.

A byte-level token may be a part of a character, and many decoders put spaces by looking at the
neighbouring tokens. So a piece is what the newest tokens add to the text of those just before them,
and it is held back while it ends inside a character.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# What decoders write for bytes that are no whole character.
INCOMPLETE = "\ufffd"


class Detokenizer:
    """Decodes one text token by token.

    Args:
        tokenizer: The model's tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # Tokens from `_start` to `_done` are already in the text and give the context in which the
        # newer ones are decoded.
        self._start = 0
        self._done = 0

    def push(self, token_id: int) -> str:
        """Return the text that a token completes; empty inside a character."""
        self._ids.append(token_id)
        known, longer = self._decode(self._start, self._done), self._decode(self._start)
        if longer.endswith(INCOMPLETE) or not longer.startswith(known):
            return ""
        if len(longer) == len(known):
            return ""
        self._start, self._done = self._done, len(self._ids)
        return longer[len(known) :]

    def end(self) -> str:
        """Return what was held back: bytes that never became a character show as ``\ufffd``."""
        known, longer = self._decode(self._start, self._done), self._decode(self._start)
        self._start = self._done = len(self._ids)
        # What was given out cannot be taken back where later tokens changed it.
        return longer[len(os.path.commonprefix([known, longer])) :]

    def _decode(self, start: int, end: int | None = None) -> str:
        if start == end:
            return ""
        text: str = self._tokenizer.decode(self._ids[start:end], skip_special_tokens=True)
        return text
