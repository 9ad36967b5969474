"""``response_format``: what a written text must be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmwright.inference.writing.grammar import OBJECT

MAX_NAME = 64


class Body(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]
    """Any text, as without `response_format`."""

    def schema_of(self) -> Any:
        """Return nothing to hold to."""
        return None


class ObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]
    """Any JSON object."""

    def schema_of(self) -> Any:
        """Return the schema of any object."""
        return OBJECT


class NamedSchema(Body):
    """A schema with its name."""

    name: str = Field("answer", min_length=1, max_length=MAX_NAME)
    """Its name; not used."""
    description: str | None = None
    """What it is for; not used."""
    strict: bool | None = None
    """Accepted; the schema is always held to."""
    schema_: dict[str, Any] = Field(alias="schema")
    """The JSON schema: at most 65,536 bytes and 64 levels."""


class SchemaFormat(Body):
    """JSON that fulfils a schema."""

    type: Literal["json_schema"]
    """JSON that fulfils a schema."""
    json_schema: NamedSchema
    """The schema."""

    def schema_of(self) -> Any:
        """Return the schema."""
        return self.json_schema.schema_


ResponseFormat = Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")]
