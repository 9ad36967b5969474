"""Alpaca: an instruction, sometimes with an input, and the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.shape import Options, Role, Row, RowError, Shape, Values, text_of


class Alpaca(Shape):
    """``{"instruction", "input", "output"}``, with ``system`` and ``history`` where they exist."""

    name = "alpaca"
    row_type: ClassVar[RowType] = "messages"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-generation",)
    roles: ClassVar[dict[str, Role]] = {
        "instruction": Role(("指令",)),
        "output": Role(("response",)),
        "input": Role(("context",), needed=False),
        "system": Role(("system_prompt",), needed=False),
        "history": Role(needed=False),
    }

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``messages``: system, earlier turns, the question, the answer."""
        answer = {"role": "assistant", "content": text_of(values, columns["output"])}
        return {"messages": [*self.asked(values, columns), answer]}

    def asked(self, values: Values, columns: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the messages up to the question.

        Raises:
            RowError: A needed value is missing or of the wrong type.
        """
        messages = []
        if "system" in columns and (system := text_of(values, columns["system"], optional=True)):
            messages.append({"role": "system", "content": system})
        for turn in self._history(values, columns):
            if not (isinstance(turn, list) and len(turn) == 2 and all(map(_is_text, turn))):
                raise RowError("type", "history is not a list of [question, answer]")
            messages.append({"role": "user", "content": turn[0]})
            messages.append({"role": "assistant", "content": turn[1]})
        question = text_of(values, columns["instruction"])
        if "input" in columns and (given := text_of(values, columns["input"], optional=True)):
            question = f"{question}\n{given}"
        return [*messages, {"role": "user", "content": question}]

    def _history(self, values: Values, columns: Mapping[str, str]) -> list[object]:
        history = values.get(columns["history"]) if "history" in columns else None
        if history is not None and not isinstance(history, list):
            raise RowError("type", "history is not a list")
        return history or []

    def fields(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return nothing of the user's: the messages are put together from several columns."""
        return {"messages": "messages"}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


ALPACA = Alpaca()
