"""What ``/generate`` reads and answers: the user's own field names, from the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmwright.data.records import Row
from llmwright.serving.bodies.requests import Options
from llmwright.serving.door.errors import ApiError
from llmwright.serving.writing import Writing
from llmwright.tasks.contract import Contract
from llmwright.tasks.reading import INPUT_COLUMNS
from llmwright.tasks.task import TASKS

PROMPT = "prompt"
CONTROLS = "controls"


@dataclass(frozen=True)
class Fields:
    """Names in requests and answers.

    Attributes:
        inputs: Name → what it holds: ``text``, ``tokens`` (a list of words), ``messages`` or
            ``controls``.
        needed: Names of which each request has one (alternatives) …
        also: … and names it has besides.
        outputs: Canonical name in the task's answer → name in the reply.
        generates: Whether `Options` are read.
        aliases: Our own names of inputs, where they mean nothing else → the user's.
    """

    inputs: dict[str, str]
    needed: tuple[str, ...]
    also: tuple[str, ...]
    outputs: dict[str, str]
    generates: bool
    aliases: dict[str, str] = field(default_factory=dict)

    def read(self, values: Mapping[str, Any]) -> tuple[Row, Writing | None]:
        """Return what is to be answered, under the user's names, and how to write.

        Raises:
            ApiError: A field is unknown, missing, no text, or one of two alternatives (400).
            pydantic.ValidationError: An option is wrong.
        """
        row: Row = {}
        options: dict[str, Any] = {}
        for name, value in values.items():
            own = self.aliases.get(name, name)
            if own in row:
                raise ApiError(400, "two_fields", param=name, names=f"{own} / {self._other(own)}")
            if own in self.inputs:
                row[own] = _checked(name, value, self.inputs[own])
            elif self.generates and name in Options.model_fields:
                options[name] = value
            else:
                raise ApiError(400, "unknown_field", param=name, name=name, names=self.describe())
        given = [name for name in self.needed if name in row]
        if len(given) != 1:
            code, names = ("two_fields", given) if given else ("missing_field", self.needed)
            raise ApiError(400, code, param=names[-1], names=" / ".join(names))
        for name in self.also:
            if name not in row:
                raise ApiError(400, "missing_field", param=name, names=name)
        return row, Options.model_validate(options).writing(
            may_cut=True
        ) if self.generates else None

    def _other(self, own: str) -> str:
        return next(alias for alias, name in self.aliases.items() if name == own)

    def reply(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer under the user's names; what is as usual is not mentioned."""
        reply = {name: answer[canonical] for canonical, name in self.outputs.items()}
        if answer.get("truncated"):
            reply["truncated"] = True
        if answer.get("finish_reason") in ("length", "content_filter"):
            reply["finish_reason"] = answer["finish_reason"]
        return reply

    def describe(self) -> str:
        """Return all names a request may hold."""
        options = list(Options.model_fields) if self.generates else []
        styles = [CONTROLS] if CONTROLS in self.inputs else []
        return ", ".join([*self.needed, *self.also, *styles, *options])


def fields_of(contract: Contract) -> Fields:
    """Return the names for a model."""
    fields = _fields_of(contract)
    if contract.choices():
        fields = replace(fields, inputs={**fields.inputs, CONTROLS: "controls"})
    aliases = {
        column: contract.fields[column]
        for column in INPUT_COLUMNS[contract.row_type]
        if column not in (*contract.fields.values(), *fields.inputs)
        and contract.fields.get(column) in fields.inputs
    }
    return replace(fields, aliases=aliases)


def _fields_of(contract: Contract) -> Fields:
    names = contract.fields
    if TASKS.get(contract.task).generates:
        return _text_fields(contract)
    if contract.row_type == "messages":
        inputs = {PROMPT: "text", "answer": "text", "messages": "messages"}
        return Fields(inputs, (PROMPT, "messages"), (), {"score": "score"}, False)
    if contract.row_type == "tags":
        tokens, tags = names.get("tokens", "tokens"), names.get("tags", "tags")
        outputs = {"tokens": tokens, "tags": tags, "scores": "scores"}
        # A column of words that is called text takes both: one text is cut into words anyway.
        inputs = {"text": "text", tokens: "tokens"}
        return Fields(inputs, tuple(dict.fromkeys((tokens, "text"))), (), outputs, False)
    text = names.get("text", "text")
    inputs = {text: "text"}
    if TASKS.get(contract.task).embeds:
        return Fields(inputs, (text,), (), {"embedding": "embedding"}, False)
    if contract.mask_token:
        return Fields(inputs, (text,), (), {"text": "text", "fills": "fills"}, False)
    if contract.row_type == "regression":
        outputs = {"value": names.get("value", "value")}
    else:
        label = "labels" if contract.multi_label else "label"
        outputs = {label: names.get(label, label), "scores": "scores"}
    if "text_pair" in names:
        inputs[names["text_pair"]] = "text"
        return Fields(inputs, (text,), (names["text_pair"],), outputs, False)
    return Fields(inputs, (text,), (), outputs, False)


def _text_fields(contract: Contract) -> Fields:
    """Return the names for a model that writes; ``prompt`` always works where it is no column."""
    names = contract.fields
    if contract.row_type == "messages":
        inputs = {PROMPT: "text", "messages": "messages"}
        return Fields(inputs, (PROMPT, "messages"), (), {"text": "text"}, True)
    if contract.row_type == "pair":
        source, target = names.get("input", "input"), names.get("target", "target")
        return Fields({source: "text"}, (source,), (), {"text": target}, True)
    return Fields({PROMPT: "text"}, (PROMPT,), (), {"text": "text"}, True)


def _checked(name: str, value: Any, kind: str) -> Any:
    """Return a value that is what its field holds and can be written as UTF-8."""
    if kind == "text":
        good = isinstance(value, str)
    elif kind == "controls":
        good = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    elif kind == "tokens":
        # The task itself cuts a string into words.
        items = [value] if isinstance(value, str) else value
        good = isinstance(items, list) and all(isinstance(item, str) for item in items)
    else:
        good = isinstance(value, list) and all(_is_message(item) for item in value) and bool(value)
    if not good:
        raise ApiError(400, f"not_{kind}", param=name, name=name)
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise ApiError(400, "not_unicode", param=name, name=name) from None
    return value


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and all(
        isinstance(item.get(part), str) for part in ("role", "content")
    )
