"""Configuration classes: frozen, strict, documented, with choices by ``kind``.

A field's attribute docstring is its help on the command line, in the schema and in the Studio.
Four annotations give fields their meaning:

- ``Annotated[OptimizerKind, Choice(OPTIMIZERS)]``: one registered kind with its own fields;
- ``Annotated[str, Name(METRICS)]``: a registered name;
- ``Annotated[str | None, Input("dataset")]``: a reference to an artifact, or a mapping of names to
  several;
- ``Annotated[str, LocalPath()]``: text that may name a local file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError, ValidationError, core_schema

from llmwright.core.errors import ConfigError, closest
from llmwright.core.layers import BARE, SHORT, Form
from llmwright.core.locale import error_text, text, text_or
from llmwright.core.registry import Registry, load_object

C = TypeVar("C", bound="Config")

# Types whose values are written as plain text; a key of digits or a file called 1 is no number.
TEXTS: tuple[Any, ...] = (str, SecretStr, Path)
# Stands in messages for what must not be shown.
HIDDEN = "***"


class Config(BaseModel):
    """Base of all configuration: frozen, unknown keys refused, help from attribute docstrings.

    Attributes:
        short_form: The field that a value alone stands for, in place of a mapping; empty for none.
        extended_by: Fields that are a budget: a run that differs from an earlier one in nothing
            else can go on from what that one did.
    """

    short_form: ClassVar[str] = ""
    extended_by: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=False,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_default_kind(cls, values: Any) -> Any:
        """Let ``optimizer.lr=0.1`` alone change the default optimizer without naming its kind.

        A value alone becomes the field of the short form.
        """
        if cls.short_form and type(values) in BARE:
            values = {cls.short_form: str(values)}
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        for name, info in cls.model_fields.items():
            given = values.get(name)
            if isinstance(given, dict) and "kind" not in given and isinstance(info.default, Kind):
                filled[name] = {"kind": info.default.kind, **given}
        return filled

    def takes_newest(self, field: str) -> bool:
        """Say whether an `Input` without a reference stands for the newest artifact.

        Where it says no, another setting makes the input superfluous: it is not looked for, and
        neither the fingerprint nor the lineage names it.

        Args:
            field: Name of the field, dotted where it is nested.
        """
        return True

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the result, for the step's fingerprint: all of them.

        A config may leave out those that only say where or how fast the work is done.
        """
        return self.model_dump(mode="json")

    def part(self) -> int:
        """Return which part of the work this is, where several machines do it at the same time.

        Each part is a run of its own; 0 is the one that makes the result, and the only one mostly.
        """
        return 0

    def local_files(self, root: Path) -> list[Path]:
        """Return the local files this config reads, whose hashes enter the step's fingerprint."""
        found: list[Path] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, Config):
                    found += item.local_files(root)
        return found


class Kind(Config):
    """One member of a `Choice`: its fields are what can be set about it.

    Attributes:
        kind: The registered name; subclasses fix it with ``Literal``.
        implementation: ``"module:name"`` of what `build` calls; a plugin may override `build`.
    """

    kind: str
    implementation: ClassVar[str] = ""

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Import the implementation and call it with this config first."""
        return load_object(self.implementation)(self, *args, **kwargs)


class Choice:
    """Annotation: a field that takes one registered `Kind`, by name, mapping or object.

    None passes where the field allows it.
    """

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def _validate(self, base: type[Kind], value: Any) -> Kind:
        if isinstance(value, base):
            return value
        values = {"kind": value} if isinstance(value, str) else value
        if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
            names = ", ".join(self.registry.names())
            raise _choice_error(text("core.needs_kind", names=names))
        member = self._member(values["kind"], base)
        try:
            return member.model_validate(values)
        except ValidationError as error:
            inner = [flat for item in error.errors() for flat in _flatten(item, member)]
            raise PydanticCustomError("nested", "is wrong", {"inner": inner}) from error

    def _member(self, name: str, base: type[Kind]) -> type[Kind]:
        if name not in self.registry:
            raise _unknown(name, self.registry)
        member: Any = self.registry.get(name)
        if not (isinstance(member, type) and issubclass(member, base)):
            what, parent = self.registry.kind, base.__qualname__
            raise _choice_error(text("core.no_subclass", what=what, name=name, base=parent))
        return member

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate through the registry; write back the kind with all its fields."""
        base = next((found for found in _models(source) if issubclass(found, Kind)), Kind)
        plain = core_schema.no_info_plain_validator_function(
            partial(self._validate, base),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.model_dump(mode="json")
            ),
            metadata={"pydantic_js_functions": [lambda schema, handler: self._one_of(handler)]},
        )
        return core_schema.nullable_schema(plain) if NoneType in get_args(source) else plain

    def _one_of(self, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return ``oneOf`` what is registered at this moment, or the name of one of them alone."""
        members = {name: self.registry.get(name) for name in self.registry.names()}
        schemas: list[Any] = [member.__pydantic_core_schema__ for member in members.values()]
        writing = _IN_SCHEMA.get()
        if self.registry.kind in writing:
            # A kind that contains a choice of its own kind: its definition is being written.
            schemas = [core_schema.definition_reference_schema(each["ref"]) for each in schemas]
        token = _IN_SCHEMA.set(writing | {self.registry.kind})
        try:
            # Only as a part of something, here a union of one, does pydantic define a model once.
            found = [handler(core_schema.union_schema([each])) for each in schemas]
        finally:
            _IN_SCHEMA.reset(token)
        short = [name for name, member in members.items() if _needs_nothing(member)]
        if short:
            found.append({"type": "string", "enum": short})
        # Applies to the mappings only: which kind it is has to be said.
        return {"required": ["kind"], "oneOf": found}


# Registries whose members' JSON schemas are being written.
_IN_SCHEMA: ContextVar[frozenset[str]] = ContextVar("in_schema", default=frozenset())


def _needs_nothing(member: type[Kind]) -> bool:
    return not any(i.is_required() for name, i in member.model_fields.items() if name != "kind")


def _unknown(name: str, registry: Registry[Any]) -> PydanticCustomError:
    hint = closest(name, registry.names())
    message, _ = error_text("CORE-011", {"kind": registry.kind, "name": name, "hint": hint})
    return _choice_error(message)


def _choice_error(message: str) -> PydanticCustomError:
    return PydanticCustomError("choice", "{message}", {"message": message})


class Name:
    """Annotation: a registered name; None passes where the field allows it."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def _validate(self, value: str | None) -> str | None:
        if value is not None and value not in self.registry:
            raise _unknown(value, self.registry)
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate as a string, then look the name up."""
        return core_schema.no_info_after_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return an enumeration of what is registered at this moment."""
        names: dict[str, Any] = {"type": "string", "enum": self.registry.names()}
        optional = {"type": "null"} in handler(schema).get("anyOf", [])
        return {"anyOf": [names, {"type": "null"}]} if optional else names


@dataclass(frozen=True)
class Input:
    """Annotation: a reference to an artifact (id, step name or folder).

    Attributes:
        kind: Kind of artifact; several are joined with ``|``.
        optional: Whether the operation can do without.
        elsewhere: ``module:function`` that finds what is no artifact of ours, as
            `find_elsewhere` calls it; nothing else is taken where empty.
    """

    kind: str
    optional: bool = False
    elsewhere: str = ""


class LocalPath:
    """Annotation: text that may name a local file or folder.

    It starts at the project's folder; typed on the command line, at the current one.
    """


def places_at(cls: type[BaseModel], parts: Sequence[str]) -> list[tuple[Any, tuple[Any, ...]]]:
    """Return the types that a value at a dotted place may have, each with its annotations.

    Args:
        cls: The config class.
        parts: Names of fields; keys of mappings and numbers of entries between them.
    """
    found: list[tuple[Any, tuple[Any, ...]]] = [(cls, ())]
    for part in parts:
        found = [each for kind, marks in found for each in _inside(kind, marks, part)]
    return found


def names_at(cls: type[BaseModel], parts: Sequence[str]) -> list[str]:
    """Return the names of all fields that a value at a dotted place may have, sorted."""
    found: set[str] = set()
    for kind, marks in places_at(cls, parts):
        choice = next((mark for mark in marks if isinstance(mark, Choice)), None)
        members = [kind] if choice is None else map(choice.registry.get, choice.registry.names())
        for member in members:
            if isinstance(member, type) and issubclass(member, BaseModel):
                found.update(member.model_fields)
    return sorted(found)


def alternatives(annotation: Any, marks: Sequence[Any] = ()) -> list[tuple[Any, tuple[Any, ...]]]:
    """Return the members of a union, each with its annotations; anything else alone."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return alternatives(inner, (*marks, *more))
    if get_origin(annotation) in (Union, UnionType):
        return [each for part in get_args(annotation) for each in alternatives(part, marks)]
    return [(annotation, tuple(marks))]


def _inside(kind: Any, marks: tuple[Any, ...], part: str) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    choice = next((mark for mark in marks if isinstance(mark, Choice)), None)
    if choice is not None:
        for member in map(choice.registry.get, choice.registry.names()):
            yield from _inside(member, (), part)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        info = kind.model_fields.get(part)
        yield from alternatives(info.annotation, info.metadata) if info else ()
    elif get_origin(kind) in (list, tuple, dict):
        yield from alternatives(get_args(kind)[-1], marks)


def is_text(cls: type[BaseModel], parts: Sequence[str]) -> bool:
    """Say whether a value at a dotted place is text, taken as it is written."""
    kinds = [kind for kind, _ in places_at(cls, parts) if kind is not NoneType]
    return bool(kinds) and all(kind in TEXTS for kind in kinds)


def form_at(cls: type[BaseModel], parts: Sequence[str]) -> Form:
    """Say what a dotted place takes, as `layers.Form` has it."""
    if is_text(cls, parts):
        return "text"
    places = places_at(cls, parts)
    if any(isinstance(mark, Choice) for _, found in places for mark in found):
        return f"{SHORT}kind"
    short = next((kind.short_form for kind, _ in places if _has_short_form(kind)), "")
    return f"{SHORT}{short}" if short else "other"


def _has_short_form(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Config) and bool(kind.short_form)


def is_secret(cls: type[BaseModel], parts: Sequence[str]) -> bool:
    """Say whether a value at or around a dotted place must never be shown or kept."""
    ends = range(1, len(parts) + 1)
    return any(kind is SecretStr for end in ends for kind, _ in places_at(cls, parts[:end]))


def is_path(cls: type[BaseModel], parts: Sequence[str]) -> bool:
    """Say whether a value at a dotted place may name a file, a folder or an artifact."""
    marks = [mark for _, found in places_at(cls, parts) for mark in found]
    return any(isinstance(mark, LocalPath | Input) for mark in marks)


def inputs_of(config: Config, prefix: str = "") -> Iterator[tuple[str, Input, str | None]]:
    """Yield dotted field, annotation and given reference of each `Input`, nested ones too.

    Each entry of a mapping is a field of its own: ``models.small``.
    """
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        marks = [m for m in info.metadata if isinstance(m, Input)]
        if marks and isinstance(value, Mapping):
            for key, reference in value.items():
                yield f"{prefix}{name}.{key}", marks[0], reference
        elif marks:
            yield prefix + name, marks[0], value
        elif isinstance(value, Config):
            yield from inputs_of(value, f"{prefix}{name}.")


def parse(
    cls: type[C],
    values: dict[str, Any],
    where: str = "",
    lines: dict[str, str] | None = None,
    also: Sequence[str] = (),
) -> C:
    """Return a validated config.

    Args:
        cls: The config class.
        values: Plain values, as read from YAML or given as keyword arguments.
        where: Dotted place of ``values``, put before field names in errors (``train``).
        lines: Dotted key → where it was written (``llmwright.yaml:12``), for errors.
        also: Keys that may stand beside ``values`` in the file, named among the choices.

    Raises:
        ConfigError: Unknown key (``CORE-040``), missing value (``CORE-042``) or wrong value
            (``CORE-041``); the first of them. Or what the class itself refuses, with its own code.
    """
    try:
        return cls.model_validate(values)
    except ConfigError as error:
        raise _placed(error, where, lines or {}) from error.__cause__
    except ValidationError as error:
        problems = [flat for item in error.errors() for flat in _flatten(item, cls, also)]
    first = problems[0]
    parts = [
        *([where] if where else []),
        *_written(first["loc"], values, first["type"] == "missing"),
    ]
    key = ".".join(parts)
    place = _line(parts, lines or {}) or key
    if first["type"] == "extra_forbidden":
        raise ConfigError("CORE-040", where=place, key=key, hint=first["hint"])
    if first["type"] == "missing":
        raise ConfigError("CORE-042", where=place, key=key)
    raise ConfigError("CORE-041", where=place, key=key, value=first["input"], reason=first["msg"])


def _placed(error: ConfigError, where: str, lines: dict[str, str]) -> ConfigError:
    """Return the error of a class about its own settings, with the line they are written in.

    Args:
        error: Its place is a dotted key that begins with the verb.
        where: As in `parse`.
        lines: As in `parse`.
    """
    key = (error.where or "").split(".")[1:]
    place = _line([where, *key], lines) or error.where
    return type(error)(error.code, where=place, **error.values)


def _line(parts: Sequence[str], lines: dict[str, str]) -> str | None:
    """Return where a key is written; where its nearest parent is when it is missing."""
    for end in range(len(parts), 0, -1):
        found = lines.get(".".join(parts[:end]))
        if found:
            return found
    return None


def _written(location: Sequence[int | str], values: Any, missing: bool) -> list[str]:
    """Return the parts of an error's location that are keys of the user's values.

    Pydantic also names the member of a union that it tried (``lr.float``), which nobody wrote.
    """
    found = []
    for number, part in enumerate(location):
        in_mapping = isinstance(values, Mapping) and part in values
        if in_mapping or (isinstance(values, list | tuple) and isinstance(part, int)):
            values = values[part]
        elif not (missing and number == len(location) - 1):
            continue
        found.append(str(part))
    return found


def _flatten(item: Any, cls: type[BaseModel], also: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield pydantic's error, or the errors inside a `Choice`, with the full location."""
    if item["type"] == "nested":
        for inner in item["ctx"]["inner"]:
            yield {**inner, "loc": (*item["loc"], *inner["loc"])}
        return
    location = [str(part) for part in item["loc"]]
    hint = ""
    if item["type"] == "extra_forbidden":
        fields = _class_at(cls, item["loc"][:-1]).model_fields
        known = [info.alias or name for name, info in fields.items()]
        beside = also if len(location) == 1 else ()
        hint = closest(location[-1], [*known, *beside])
    yield {
        "loc": item["loc"],
        "type": item["type"],
        "msg": _reason(item),
        "input": HIDDEN if is_secret(cls, location) else _shown(item["input"], cls, location),
        "hint": hint,
    }


def _reason(item: Any) -> str:
    """Return what is wrong in the user's language; pydantic's own words where we have none."""
    values = dict(item.get("ctx", {}))
    if item["type"] == "literal_error":
        values["expected"] = values["expected"].replace(" or ", ", ")
    message = item["msg"].removeprefix("Value error, ")
    return text_or(f"core.value_{item['type']}", message, **values).rstrip(".。")


def _shown(value: Any, cls: type[BaseModel], location: Sequence[str]) -> str:
    if isinstance(value, Mapping):
        value = {
            key: HIDDEN if is_secret(cls, [*location, str(key)]) else item
            for key, item in value.items()
        }
    shown = str(value) if isinstance(value, BaseModel) else repr(value)
    return shown if len(shown) <= 80 else shown[:79] + "…"


def _class_at(cls: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel]:
    """Return the config class that the fields at this location belong to."""
    for part in location:
        info = cls.model_fields.get(str(part))
        if info is not None:
            cls = next(_models(info.annotation), cls)
    return cls


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType, list, tuple, dict):
        for part in get_args(annotation):
            yield from _models(part)
