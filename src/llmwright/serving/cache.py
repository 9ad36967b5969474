"""Answers kept for requests that always get the same one: labels, and texts that are not drawn.

Texts are drawn when the temperature is above 0 and no seed is given. What was asked is the model's
content, the rows and all settings, so a newly trained model or another style is another question.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from llmwright.data.records import Row
from llmwright.inference.writing.grammar import Grammar
from llmwright.serving.writing import Writing

# What an entry takes besides its content, roughly, in bytes.
ENTRY_BYTES = 600


class AnswerCache:
    """The answers asked for last, up to a number of bytes.

    Args:
        max_bytes: How much they may take; 0 keeps none.
        is_shared: Whether one key may get what another asked for.
    """

    def __init__(self, max_bytes: int, is_shared: bool = False) -> None:
        self._max_bytes = max_bytes
        self._is_shared = is_shared
        self._entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self.num_bytes = 0

    def __bool__(self) -> bool:
        return self._max_bytes > 0

    def address(
        self,
        model: Sequence[str],
        rows: Sequence[Row],
        writing: Writing | None,
        place: int,
        holder: str,
    ) -> str:
        """Return where the answer to some rows is.

        Args:
            model: Name and id of the content of the model.
            rows: What is asked.
            writing: How a text is written; None for labels.
            place: Position of the text among those of its prompt.
            holder: Id of the key that asks.
        """
        how = None if writing is None else asdict(writing)
        whose = "" if self._is_shared else holder
        asked = [whose, *model, rows, how, place]
        text = json.dumps(asked, sort_keys=True, default=_listed)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, address: str) -> Any | None:
        """Return an answer, None where there is none."""
        entry = self._entries.get(address)
        if entry is None:
            return None
        self._entries.move_to_end(address)
        return entry[0]

    def put(self, address: str, answer: Any) -> None:
        """Keep an answer; those not asked for longest make room."""
        size = len(repr(answer).encode()) + ENTRY_BYTES
        if size > self._max_bytes or address in self._entries:
            return
        self._entries[address] = (answer, size)
        self.num_bytes += size
        while self.num_bytes > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.num_bytes -= freed


def _listed(value: np.ndarray | Grammar) -> list[int] | str:
    """Return token ids, or a schema, as JSON has them; nothing else in a request needs it."""
    if isinstance(value, Grammar):
        return value.schema
    found: list[int] = value.tolist()
    return found


def is_drawn(writing: Writing | None, temperature: float) -> bool:
    """Say whether a text comes out differently each time.

    Args:
        writing: How it is written; None for labels.
        temperature: The model's own, where the request gives none.
    """
    if writing is None or writing.generation.get("seed") is not None:
        return False
    asked = writing.generation.get("temperature")
    return (temperature if asked is None else asked) > 0
