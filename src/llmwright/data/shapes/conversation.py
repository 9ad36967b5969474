"""Conversations: OpenAI messages and ShareGPT, which differ in names only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.shape import Options, Role, Row, RowError, Shape, Values, text_of

Messages = list[dict[str, str]]

# By these a turn of the assistant says that it is learned (1) or only read (0).
_WEIGHTS = ("weight", "loss_weight")
_READ = {"role", "from", "content", "value", *_WEIGHTS}

# What a speaker is called in the wild → the three roles of chat templates, and tools' results.
SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}


class Conversation(Shape):
    """A list of turns, each with a speaker and a text.

    Args:
        name: Registered name.
        speaker: Key of the speaker in a turn.
        content: Key of the text in a turn.
    """

    row_type: ClassVar[RowType] = "messages"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-generation",)
    roles: ClassVar[dict[str, Role]] = {
        "messages": Role(("conversations", "conversation", "messages", "dialogue")),
        "system": Role(("system_prompt",), needed=False),
    }

    def __init__(self, name: str, speaker: str, content: str) -> None:
        self.name = name
        self.speaker = speaker
        self.content = content

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether the turns have this shape's keys."""
        return has_turns(values.get(columns["messages"]), self.speaker)

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``messages`` and of each whether it is learned: the assistant's, unless told not.

        Raises:
            RowError: As `messages_of`; a weight that is neither 0 nor 1, or nothing to learn.
        """
        given = values.get(columns["messages"])
        messages = messages_of(given, columns["messages"])
        turns = [given] if isinstance(given, dict) else given or []
        if not any(turn["role"] == "assistant" for turn in messages):
            raise RowError("roles", "no turn of the assistant")
        weights = [_weight(turn, number) for number, turn in enumerate(turns, start=1)]
        pairs = zip(messages, weights, strict=True)
        learn = [turn["role"] == "assistant" and weight == 1 for turn, weight in pairs]
        if not any(learn):
            raise RowError("roles", "every turn of the assistant has the weight 0")
        system = self.system(values, columns)
        return {"messages": [*system, *messages], "learn": [False] * len(system) + learn}

    def unread(self, values: Values, columns: Mapping[str, str]) -> set[str]:
        """Return the keys of turns that say something and are not read, as ``messages[].name``."""
        given = values.get(columns["messages"])
        turns = (
            [turn for turn in given if isinstance(turn, dict)] if isinstance(given, list) else []
        )
        said = (key for turn in turns for key in turn if turn[key])
        return {f"{columns['messages']}[].{key}" for key in said if key not in _READ}

    def system(self, values: Values, columns: Mapping[str, str]) -> Messages:
        """Return the system message that a column of its own holds; no message without one."""
        if "system" in columns and (text := text_of(values, columns["system"], optional=True)):
            return [{"role": "system", "content": text}]
        return []

    def fields(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return the name of ``messages``."""
        return {"messages": columns["messages"]}


def has_turns(value: Any, speaker: str) -> bool:
    """Say whether a value is a list of turns with this key for the speaker."""
    return isinstance(value, list) and all(isinstance(t, dict) and speaker in t for t in value)


def messages_of(value: Any, column: str) -> Messages:
    """Return turns in the canonical form ``{role, content}``; one turn alone counts as a list.

    Raises:
        RowError: No turns, an unknown speaker, or a turn without text.
    """
    turns = [value] if isinstance(value, dict) else value
    if not turns:
        raise RowError("missing", f'"{column}" is empty')
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise RowError("type", f'"{column}" is not a list of turns')
    return [_message(turn, number) for number, turn in enumerate(turns, start=1)]


def _weight(turn: dict[str, Any], number: int) -> float:
    """Return the weight that a turn gives itself in the loss; 1 where it gives none."""
    given = [turn[key] for key in _WEIGHTS if turn.get(key) is not None]
    if any(weight not in (0, 1) for weight in given):
        raise RowError("type", f"turn {number}: the weight {given[0]}; only 0 and 1 can be used")
    return min(given, default=1)


def _message(turn: dict[str, Any], number: int) -> dict[str, str]:
    speaker = turn.get("role", turn.get("from"))
    role = SPEAKERS.get(str(speaker).lower())
    if role is None:
        raise RowError("roles", f'turn {number}: unknown speaker "{speaker}"')
    if turn.get("tool_calls"):
        raise RowError("type", f"turn {number}: tool_calls")
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        content = _joined_parts(content, number)
    if content is None or (isinstance(content, str) and not content.strip()):
        raise RowError("missing", f"turn {number} has no text")
    if not isinstance(content, str):
        raise RowError("type", f"turn {number}: the content is not text")
    return {"role": role, "content": content}


def _joined_parts(parts: list[Any], number: int) -> str:
    texts: list[str] = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
        if kind != "text":
            raise RowError("type", f'turn {number}: a part of type "{kind}", only text can be used')
        texts.append(str(part.get("text", part.get("value", ""))))
    return "".join(texts)


OPENAI = Conversation("openai", "role", "content")
SHAREGPT = Conversation("sharegpt", "from", "value")
