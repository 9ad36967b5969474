"""A conversation with a model, turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.inference.predictor import Predictor
from llmwright.tasks.task import TASKS

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
        contract = predictor.contract
        if contract is not None and contract.task not in ("text-generation", "seq2seq"):
            raise InputError("INFER-005", task=contract.task)
        self.remembers = contract is None or contract.row_type == "messages"
        if system and not self.remembers:
            raise InputError("INFER-019")
        self._field = TASKS.get(contract.task).text_field if contract else "prompt"
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
        row: Row = {self._field: said}
        turn = {"role": "user", "content": said}
        if self.remembers:
            row = {"messages": [*self.messages, turn]}
        pieces: list[str] = []
        for piece in self.predictor.stream(row, **self.generation):
            pieces.append(piece)
            yield piece
        if self.remembers:
            self.messages += [turn, {"role": "assistant", "content": "".join(pieces)}]
