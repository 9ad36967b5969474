"""A conversation with a model, turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmwright.core.errors import InputError
from llmwright.inference.predictor import Predictor

Messages = list[dict[str, str]]


class Conversation:
    """Remembers what was said and sends it along.

    Models that did not learn from conversations can be talked with as well: each turn is then an
    input of its own, and nothing is remembered.

    Args:
        predictor: Answers.
        system: What the model is told before the first turn.
        **generation: As in `Predictor.predict`.

    Raises:
        InputError: The model writes no text (``INFER-005``), or cannot be given a system message
            (``INFER-019``).
    """

    def __init__(self, predictor: Predictor, system: str | None = None, **generation: Any) -> None:
        if not predictor.task.generates:
            raise InputError("INFER-005", task=predictor.contract.task)
        self.remembers = predictor.contract.row_type == "messages"
        if system and not self.remembers:
            raise InputError("INFER-019")
        self.predictor = predictor
        self.name = predictor.name
        self.system = system
        self.generation = generation
        self.messages: Messages = []
        self.reset()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def say(self, said: str) -> Iterator[str]:
        """Yield the answer as it is written; a whole answer is remembered, a broken off one not."""
        turn = {"role": "user", "content": said}
        if not self.remembers:
            row = self.predictor.read(said)
        else:
            row = self.predictor.read({"messages": [*self.messages, turn]})
        pieces: list[str] = []
        for piece in self.predictor.stream(row, **self.generation):
            pieces.append(piece)
            yield piece
        if self.remembers:
            self.messages += [turn, {"role": "assistant", "content": "".join(pieces)}]
