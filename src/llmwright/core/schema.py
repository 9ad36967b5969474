"""Views of config classes for people and machines: field lists and JSON Schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticUndefined

from llmwright.core import locale
from llmwright.core.config import TEXTS, Choice, Config, Input, Name, alternatives, is_text
from llmwright.core.operation import Table
from llmwright.core.project import HEAD

# A default that is longer says nothing at a glance.
MAX_DEFAULT = 200


@dataclass(frozen=True)
class Field:
    """One setting as help texts and forms show it.

    Attributes:
        name: Field name.
        label: Kind of value in a word or two: ``INT``, ``NUMBER``, ``TEXT``, ``a|b|c``.
        help: Effect, unit and why this default, in the user's language.
        default: Default as text; None when the field is required.
        is_flag: Whether the value is yes or no.
        is_text: Whether the value is text, taken as it is written.
        choices: The names that are possible now; empty when free.
    """

    name: str
    label: str
    help: str
    default: str | None
    is_flag: bool
    is_text: bool
    choices: tuple[str, ...]


def fields_of(cls: type[Config]) -> list[Field]:
    """Return the settings of a config class in their order."""
    found = []
    for name, info in cls.model_fields.items():
        places = alternatives(info.annotation, info.metadata)
        kinds = [kind for kind, _ in places if kind is not type(None)]
        marks = [mark for _, found_marks in places for mark in found_marks]
        choices = _choices(marks, kinds)
        required = info.is_required()
        found.append(
            Field(
                name=name,
                label="|".join(choices) if choices else _label(kinds, marks),
                help=locale.help_text(f"{cls.__name__}.{name}", info.description or ""),
                default=None if required else _default_text(info.get_default()),
                is_flag=kinds == [bool],
                is_text=is_text(cls, [name]),
                choices=choices,
            )
        )
    return found


def _choices(marks: list[Any], kinds: list[Any]) -> tuple[str, ...]:
    for mark in marks:
        if isinstance(mark, Choice | Name):
            return tuple(mark.registry.names())
    if kinds and all(get_origin(kind) is Literal for kind in kinds):
        return tuple(str(value) for kind in kinds for value in get_args(kind))
    return ()


def _label(kinds: list[Any], marks: list[Any]) -> str:
    if any(isinstance(mark, Input) for mark in marks) and all(kind in TEXTS for kind in kinds):
        return "REF"
    names = {int: "INT", float: "NUMBER", bool: "yes|no", **dict.fromkeys(TEXTS, "TEXT")}
    labels = {names.get(kind, "YAML") for kind in kinds}
    if labels == {"INT", "NUMBER"}:
        return "NUMBER"
    return labels.pop() if len(labels) == 1 else "YAML"


def _default_text(value: Any) -> str:
    if value is PydanticUndefined or value is None or value in ("", [], {}, ()):
        return ""
    if isinstance(value, Config):
        plain = value.model_dump(mode="json", exclude_none=True)
        body = str(plain["kind"]) if "kind" in plain else json.dumps(plain, ensure_ascii=False)
        # The settings of a whole operation have a help of their own.
        return body if len(body) <= MAX_DEFAULT else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def project_schema(table: Table) -> dict[str, Any]:
    """Return the JSON Schema of ``llmwright.yaml``: one property per operation."""
    classes = {operation.verb: operation.config_class() for operation in table.values()}
    # Written together, so that two classes of one name do not take each other's definition.
    references, document = models_json_schema(
        [(cls, "validation") for cls in dict.fromkeys(classes.values())],
        ref_template="#/$defs/{model}",
    )
    definitions = document.get("$defs", {})
    properties: dict[str, Any] = {name: {"type": "string"} for name in HEAD}
    for verb, cls in classes.items():
        body = _definition(references[cls, "validation"], definitions)
        beside = {name: {"type": "string"} for name in table[verb].beside}
        named = {**body, "properties": {**beside, **body["properties"]}}
        # A step needs no setting at all: "tokenize:" alone is null.
        alone = [] if body.get("required") else [{"type": "null"}]
        properties[verb] = {
            "description": table[verb].summary,
            "oneOf": [named, {"type": "array", "items": named}, {"const": False}, *alone],
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llmwright.yaml",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": definitions,
    }


def _definition(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    found: dict[str, Any] = definitions[reference.rsplit("/", 1)[1]] if reference else schema
    return found
