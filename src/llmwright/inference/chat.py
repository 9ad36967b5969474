"""A conversation with a model, turn by turn."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import httpx

from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.inference.predictor import Predictor

Messages = list[dict[str, str]]
# Share of the model's context that is kept free for an answer.
ROOM = 4


class Conversation:
    """Remembers what was said and sends it along, as much of it as the model can read.

    Models that did not learn from conversations can be talked with as well: each turn is then an
    input of its own, and nothing is remembered.

    Args:
        predictor: Answers.
        system: What the model is told before the first turn.
        **generation: As in `Predictor.predict`.

    Attributes:
        name: Of the model.
        remembers: Whether the model reads conversations.
        messages: What the model is sent with the next turn.
        said: All that was said since the beginning, the turns no longer sent too.
        dropped: Messages that the last turn left out for the first time: they no longer fit.
        generation: How answers are written, where it is not as the model's contract has it.

    Raises:
        InputError: The model writes no text (``INFER-005``), or cannot be given a system message
            (``INFER-019``).
    """

    def __init__(self, predictor: Predictor, system: str | None = None, **generation: Any) -> None:
        if not predictor.task.generates:
            raise InputError("INFER-005", task=predictor.contract.task)
        self.remembers = predictor.contract.row_type == "messages"
        self.predictor = predictor
        self.name = predictor.name
        self.system: str | None = None
        self.generation: dict[str, Any] = {}
        self.messages: Messages = []
        self.said: Messages = []
        self.dropped = 0
        self.set_generation(**generation)
        self.tell(system or "")

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = self._system()
        self.said = self._system()

    def tell(self, system: str) -> None:
        """Give the model a system message from now on, none when empty; what was said stays.

        Raises:
            InputError: The model reads no conversations (``INFER-019``).
        """
        if system and not self.remembers:
            raise InputError("INFER-019")
        self.system = system or None
        for messages in (self.messages, self.said):
            kept = [message for message in messages if message["role"] != "system"]
            messages[:] = [*self._system(), *kept]

    def undo(self) -> None:
        """Forget the last turn and its answer."""
        for messages in (self.messages, self.said):
            if messages and messages[-1]["role"] == "assistant":
                del messages[-2:]

    @property
    def controls(self) -> tuple[dict[str, list[str]], dict[str, str]]:
        """The styles the model knows, each with its values, and those that are chosen."""
        return self.predictor.contract.controls, self.predictor.controls

    def set_controls(self, controls: Mapping[str, str]) -> None:
        """Have answers in these styles from now on, beside those chosen before.

        Raises:
            InputError: The model has no such control or value (``TASK-030``, ``TASK-031``).
        """
        self.predictor.set_controls({**self.predictor.controls, **controls})

    def set_generation(self, **values: Any) -> None:
        """Have answers written so from now on.

        Args:
            **values: As in `Predictor.predict`.

        Raises:
            ConfigError: A name or a value is wrong.
        """
        self.predictor.settings(**{**self.generation, **values})
        self.generation.update(values)

    def say(self, said: str) -> Generator[str]:
        """Yield the answer as it is written; a whole answer is remembered, a broken off one not.

        Where the conversation no longer fits, its oldest turns are left out.
        """
        turn = {"role": "user", "content": said}
        self.dropped = 0
        before, pieces = list(self.messages), list[str]()
        while True:
            row = self._fitting(turn) if self.remembers else self.predictor.read(said)
            try:
                for piece in self.predictor.stream(row, **self.generation):
                    pieces.append(piece)
                    yield piece
                break
            except InputError as error:
                # A server, whose tokens are not counted here, may say that it is too much.
                refused = error.values.get("status") == httpx.codes.BAD_REQUEST
                if pieces or not refused or not self._drop():
                    self.messages = before
                    raise
        answer = {"role": "assistant", "content": "".join(pieces)}
        self.said += [turn, answer]
        if self.remembers:
            self.messages += [turn, answer]

    def _system(self) -> Messages:
        return [{"role": "system", "content": self.system}] if self.system else []

    def _fitting(self, turn: dict[str, str]) -> Row:
        """Return the conversation with a new turn, without so many old ones that it fits."""
        while True:
            row = self.predictor.read({"messages": [*self.messages, turn]})
            if self._fits(row) or not self._drop():
                return row

    def _drop(self) -> bool:
        """Leave out the oldest question and its answer; say whether there was one."""
        start = len(self._system())
        left = self.messages[start : start + 2]
        del self.messages[start : start + 2]
        self.dropped += len(left)
        return bool(left)

    def _fits(self, row: Row) -> bool:
        """Say whether a prompt is read whole and leaves room for an answer."""
        example = self.predictor.encode(row)
        limit = self.predictor.contract.max_length
        wanted = self.predictor.settings(**self.generation).max_new_tokens
        room = min(wanted, limit // ROOM)
        return not example.truncated and len(example.input_ids_T) + room <= limit
