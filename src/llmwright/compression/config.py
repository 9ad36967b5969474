"""Configuration of `compress`: which model, in which way, and how equal it must answer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmwright.core.config import Choice, Config, Input, Kind
from llmwright.core.registry import Registry

COMPRESSIONS: Registry[type[Compression]] = Registry(
    "compression", {"merge": "llmwright.compression.config:Merge"}
)


class Compression(Kind):
    """One way to make a model simpler or smaller.

    `build(request)` takes a `compression.compress.CompressionRequest`, writes weights and
    ``config.json`` into its folder, and returns lines for the parity table.

    Attributes:
        number_format: How the weights are stored afterwards; decides the accepted differences.
    """

    number_format: ClassVar[str] = "float32"


class Merge(Compression):
    """Work an adapter into the weights of its base: one whole model, as quick as the base."""

    implementation: ClassVar[str] = "llmwright.compression.merge:merge"

    kind: Literal["merge"] = "merge"
    """Name of this way."""


class CompressConfig(Config):
    """Make a model simpler or smaller, and prove that it answers like the original."""

    model: Annotated[str | None, Input("model")] = None
    """The model: a step's name, an artifact id or a folder; the newest model when not given."""
    kind: Annotated[Compression, Choice(COMPRESSIONS)] = Merge()
    """In which way: `merge` works an adapter into the weights of its base, so that the model stands
    on its own."""
    tolerance: float | None = Field(None, gt=0)
    """Largest difference of a logit or a log-probability that is accepted, times the largest logit
    where that is above 1. Not given: 1e-4 for float32."""
    min_agreement: float | None = Field(None, ge=0, le=1)
    """Share of labels and of tokens that must agree; 1 for float32 when not given."""
