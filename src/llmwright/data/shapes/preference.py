"""Judged answers: a chosen and a rejected one (DPO), or one with thumbs up or down (KTO)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml

from llmwright.core.locale import text as sentence
from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.conversation import Messages, messages_of
from llmwright.data.shapes.shape import Options, Role, Row, RowError, Shape, Values, text_of

_PROMPTS = ("question", "instruction", "messages", "conversations", "conversation")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Preference(Shape):
    """A prompt, a chosen and a rejected answer; answers are texts, turns, or whole conversations.

    Without a prompt column both answers are conversations that begin alike.
    """

    name = "preference"
    row_type: ClassVar[RowType] = "preference"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-generation",)
    roles: ClassVar[dict[str, Role]] = {
        "prompt": Role(_PROMPTS, needed=False),
        "chosen": Role(("chosen_messages",)),
        "rejected": Role(("rejected_messages",)),
    }

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``prompt`` (messages), ``chosen`` and ``rejected``."""
        before, chosen = _answer(values, columns["chosen"])
        before_rejected, rejected = _answer(values, columns["rejected"])
        prompt = _prompt(values, columns["prompt"]) if "prompt" in columns else before
        if not prompt or ("prompt" not in columns and before != before_rejected):
            raise RowError("missing", "no prompt that both answers share")
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


class Kto(Shape):
    """A prompt, one answer and whether it is good; or a conversation and whether it ends well."""

    name = "kto"
    row_type: ClassVar[RowType] = "flag"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-generation",)
    roles: ClassVar[dict[str, Role]] = {
        "prompt": Role(_PROMPTS),
        "completion": Role(("response", "answer"), needed=False),
        "flag": Role(("label", "kto_tag", "desirable")),
    }

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether the flag is true or false and there is an answer."""
        flag = values.get(columns["flag"])
        has_answer = "completion" in columns or isinstance(values.get(columns["prompt"]), list)
        return has_answer and (isinstance(flag, bool) or str(flag).lower() in ("true", "false"))

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``prompt`` (messages), ``completion`` and ``flag``."""
        if "completion" in columns:
            prompt = _prompt(values, columns["prompt"])
            _, completion = _answer(values, columns["completion"])
        else:
            prompt, completion = _answer(values, columns["prompt"])
        if not prompt:
            raise RowError("missing", "no turn before the answer")
        flag = _TRUTH.get(str(values.get(columns["flag"])).lower())
        if flag is None:
            raise RowError("type", f'"{columns["flag"]}" is neither true nor false')
        return {"prompt": prompt, "completion": completion, "flag": flag}


def _prompt(values: Values, column: str) -> Messages:
    value = values.get(column)
    if isinstance(value, list | dict):
        return messages_of(value, column)
    return [{"role": "user", "content": text_of(values, column)}]


def _answer(values: Values, column: str) -> tuple[Messages, str]:
    """Return the turns before the answer, when the value is a conversation, and the answer."""
    value: Any = values.get(column)
    if not isinstance(value, list | dict):
        return [], text_of(values, column)
    messages = messages_of(value, column)
    if messages[-1]["role"] != "assistant":
        raise RowError("roles", f'"{column}" does not end with a turn of the assistant')
    return messages[:-1], messages[-1]["content"]


def learnable(row_type: RowType, columns: Mapping[str, str], example: Values | None = None) -> str:
    """Return how rows of judged answers can be learned from as they are; else nothing.

    Args:
        row_type: Canonical row type.
        columns: Role → the user's column.
        example: One record; its prompt and answer are taken for texts when not given.
    """
    answer = columns.get("chosen") or columns.get("completion") or columns.get("prompt")
    if row_type not in ("preference", "flag") or answer is None:
        return ""
    wanted = {"messages": answer}
    turns = (example or {}).get(answer)
    if "prompt" in columns and answer != columns["prompt"]:
        if not isinstance(turns, list):
            wanted = {"prompt": columns["prompt"], "completion": answer}
        elif len(turns) < 2:
            # Turns of the prompt and of the answer lie apart: no column has both.
            return ""
    line = yaml.safe_dump(wanted, default_flow_style=True, allow_unicode=True, width=math.inf)
    return sentence(f"data.learn_{row_type}", line=f"columns: {line.strip()}")


PREFERENCE = Preference()
KTO = Kto()
