"""Configuration of `export`: which model, for which engine, and how equal it must answer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmwright.core.config import Choice, Config, Input, Kind
from llmwright.core.registry import Registry
from llmwright.models.published import PUBLISHED

EXPORTERS: Registry[type[Format]] = Registry(
    "exporter",
    {
        "onnx": "llmwright.export.config:OnnxFormat",
        "gguf": "llmwright.export.config:GgufFormat",
        "safetensors": "llmwright.export.config:SafetensorsFormat",
    },
)


class Format(Kind):
    """One file format.

    `build(source, folder, report)` reads the model in `source`, writes its graphs into `folder`,
    calls ``report(stage, done, total)`` between them, and returns what ``export.json`` is to say.

    Attributes:
        engine: Registered engine that runs the result, for the parity check.
    """

    engine: ClassVar[str]

    @property
    def number_format(self) -> str:
        """How its weights are stored; decides the accepted differences."""
        return "float32"


class OnnxFormat(Format):
    """ONNX, run by onnxruntime and, in float32, by many other engines."""

    implementation: ClassVar[str] = "llmwright.export.onnx:export_onnx"
    engine: ClassVar[str] = "onnx"

    kind: Literal["onnx"] = "onnx"
    """Name of this format."""
    precision: Literal["float32", "int8"] = "float32"
    """Bits of a weight: 32, or 8 with activations rounded to 8 bits, too, while it runs. 8 bits are
    a quarter of the size and two to three times as quick on a CPU; about one label in a hundred
    that was nearly undecided becomes another."""

    @property
    def number_format(self) -> str:
        """Bits of a weight."""
        return self.precision


class GgufFormat(Format):
    """GGUF, run by llama.cpp and what is built on it (LM Studio, and Ollama by a Modelfile)."""

    implementation: ClassVar[str] = "llmwright.export.gguf.write:export_gguf"
    engine: ClassVar[str] = "llamacpp"

    kind: Literal["gguf"] = "gguf"
    """Name of this format."""
    precision: Literal["bf16", "q8_0", "q4_0"] = "q8_0"
    """Bits of a weight: 16, 8 or 4, the last two in blocks of 32 with a scale of their own. 8 bits
    are half the size and nearly as good; 4 bits a quarter, and noticeably worse on small models."""

    @property
    def number_format(self) -> str:
        """Bits of a weight."""
        return self.precision


class SafetensorsFormat(Format):
    """A plain Hugging Face folder, adapters merged: for transformers, vLLM and converters."""

    implementation: ClassVar[str] = "llmwright.export.merged:export_safetensors"
    engine: ClassVar[str] = "torch"

    kind: Literal["safetensors"] = "safetensors"
    """Name of this format."""
    max_file_gb: float = Field(5.0, gt=0)
    """Largest size of a file with weights, in GB; a larger model becomes several and an index."""


class ExportConfig(Config):
    """Write a model for another engine and prove that it answers like the original."""

    model: Annotated[str | None, Input("model", elsewhere=PUBLISHED)] = None
    """The model: a step's name, an artifact id or a folder; the newest model when not given."""
    format: Annotated[Format, Choice(EXPORTERS)] = OnnxFormat()
    """What to write: `onnx` runs on onnxruntime, without torch, quickly on a CPU."""
    tolerance: float | None = Field(None, gt=0)
    """Largest difference of a logit or a log-probability that is accepted, times the largest logit
    where that is above 1. Not given: 1e-4 for float32, which other arithmetic stays well below, and
    more for fewer bits."""
    min_agreement: float | None = Field(None, ge=0, le=1)
    """Share of labels and of tokens that must agree. Not given: 1 for float32; for 8 bits 0.99 of
    the labels and 0.95 of the tokens, nearly undecided ones not counted."""
    timeout_seconds: float = Field(1800.0, gt=0)
    """Time after which the conversion is given up."""
