"""Configuration classes: frozen, strict, documented, with choices by ``kind``.

A field's attribute docstring is its help on the command line, in the schema and in the Studio.
Three annotations give fields their meaning:

- ``Annotated[OptimizerKind, Choice(OPTIMIZERS)]``: one registered kind with its own fields;
- ``Annotated[str, Name(METRICS)]``: a registered name;
- ``Annotated[str | None, Input("dataset")]``: a reference to an artifact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, ValidationError, core_schema

from llmwright.core.errors import ConfigError, closest
from llmwright.core.registry import Registry, load_object

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of all configuration: frozen, unknown keys refused, help from attribute docstrings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=False,
        protected_namespaces=(),
    )

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
    """Annotation: a field that takes one registered `Kind`, by name, mapping or object."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def _validate(self, value: Any) -> Kind:
        if isinstance(value, Kind):
            return value
        values = {"kind": value} if isinstance(value, str) else value
        if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
            names = ", ".join(self.registry.names())
            raise PydanticCustomError(
                "choice", "needs a kind: {names}", {"names": names, "got": repr(value)}
            )
        name = values["kind"]
        if name not in self.registry:
            hint = closest(name, self.registry.names())
            raise PydanticCustomError(
                "choice",
                'no {what} is called "{name}". {hint}',
                {"what": self.registry.kind, "name": name, "hint": hint},
            )
        member: type[Kind] = self.registry.get(name)
        try:
            return member.model_validate(values)
        except ValidationError as error:
            inner = [flat for item in error.errors() for flat in _flatten(item, member)]
            raise PydanticCustomError("nested", "is wrong", {"inner": inner}) from error

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate through the registry; write back the kind with all its fields."""
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.model_dump(mode="json")
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return ``oneOf`` what is registered at this moment."""
        members = [self.registry.get(name) for name in self.registry.names()]
        return {"oneOf": [handler(member.__pydantic_core_schema__) for member in members]}


class Name:
    """Annotation: a string that must be a registered name; None passes where the field allows it."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def _validate(self, value: str | None) -> str | None:
        if value is not None and value not in self.registry:
            hint = closest(value, self.registry.names())
            raise PydanticCustomError(
                "choice",
                'no {what} is called "{name}". {hint}',
                {"what": self.registry.kind, "name": value, "hint": hint},
            )
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
        return {"type": "string", "enum": self.registry.names()}


@dataclass(frozen=True)
class Input:
    """Annotation: a reference to an artifact (id, step name or folder).

    Attributes:
        kind: Kind of artifact; several are joined with ``|``.
        optional: Whether the operation can do without.
    """

    kind: str
    optional: bool = False


def inputs_of(config: Config, prefix: str = "") -> Iterator[tuple[str, Input, str | None]]:
    """Yield dotted field, annotation and given reference of each `Input`, nested ones too."""
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        marks = [m for m in info.metadata if isinstance(m, Input)]
        if marks:
            yield prefix + name, marks[0], value
        elif isinstance(value, Config):
            yield from inputs_of(value, f"{prefix}{name}.")


def parse(
    cls: type[C], values: dict[str, Any], where: str = "", lines: dict[str, str] | None = None
) -> C:
    """Return a validated config.

    Args:
        cls: The config class.
        values: Plain values, as read from YAML or given as keyword arguments.
        where: Dotted place of ``values``, put before field names in errors (``train``).
        lines: Dotted key → where it was written (``llmwright.yaml:12``), for errors.

    Raises:
        ConfigError: Unknown key (``CORE-040``), missing value (``CORE-042``) or wrong value
            (``CORE-041``); the first of them.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems = [flat for item in error.errors() for flat in _flatten(item, cls)]
    first = problems[0]
    key = ".".join([*([where] if where else []), *map(str, first["loc"])])
    place = (lines or {}).get(key) or key
    if first["type"] == "extra_forbidden":
        raise ConfigError("CORE-040", where=place, key=key, hint=first["hint"])
    if first["type"] == "missing":
        raise ConfigError("CORE-042", where=place, key=key)
    raise ConfigError("CORE-041", where=place, key=key, value=first["input"], reason=first["msg"])


def _flatten(item: Any, cls: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Yield pydantic's error, or the errors inside a `Choice`, with the full location."""
    context = item.get("ctx", {})
    if item["type"] == "nested":
        for inner in context["inner"]:
            yield {**inner, "loc": (*item["loc"], *inner["loc"])}
        return
    hint = ""
    if item["type"] == "extra_forbidden":
        hint = closest(str(item["loc"][-1]), cls.model_fields)
    yield {
        "loc": item["loc"],
        "type": item["type"],
        "msg": item["msg"],
        "input": repr(item["input"])[:80],
        "hint": hint,
    }
