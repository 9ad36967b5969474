"""Judged answers: a chosen and a rejected one (DPO), or one with thumbs up or down (KTO)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.conversation import Messages, messages_of
from llmwright.data.shapes.shape import (
    Options,
    Role,
    Row,
    RowError,
    Shape,
    Values,
    as_number,
    text_of,
)

_PROMPTS = ("question", "instruction", "messages", "conversations", "conversation")
SCORES = ("chosen_score", "rejected_score")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Preference(Shape):
    """A prompt, a chosen and a rejected answer; answers are texts, turns, or whole conversations.

    Without a prompt column both answers are conversations that begin alike. Where the data also
    rates both answers, a row whose rejected answer has the better score is refused: either it or
    its columns are the wrong way round, and a model would learn the opposite.
    """

    name = "preference"
    row_type: ClassVar[RowType] = "preference"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-generation",)
    roles: ClassVar[dict[str, Role]] = {
        "prompt": Role(_PROMPTS, needed=False),
        "chosen": Role(("chosen_messages",)),
        "rejected": Role(("rejected_messages",)),
        "chosen_score": Role(("score_chosen", "chosen_rating", "chosen-rating"), needed=False),
        "rejected_score": Role(
            ("score_rejected", "rejected_rating", "rejected-rating"), needed=False
        ),
    }

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``prompt`` (messages), ``chosen`` and ``rejected``."""
        before, chosen = _answer(values, columns["chosen"])
        before_rejected, rejected = _answer(values, columns["rejected"])
        prompt = _prompt(values, columns["prompt"]) if "prompt" in columns else before
        if not prompt or ("prompt" not in columns and before != before_rejected):
            raise RowError("missing", "no prompt that both answers share")
        if chosen == rejected:
            raise RowError("identical", "chosen and rejected are the same answer")
        better, worse = (as_number(values.get(columns.get(name, ""))) for name in SCORES)
        if better is not None and worse is not None and better < worse:
            raise RowError("swapped", f"chosen has the score {better:g}, rejected {worse:g}")
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}

    def fields(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return the names of prompt and answers."""
        return {ours: theirs for ours, theirs in columns.items() if ours not in SCORES}


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


PREFERENCE = Preference()
KTO = Kto()
