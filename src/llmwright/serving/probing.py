"""The proof at start: the loaded model answers its recorded probes, or nothing is served."""

from __future__ import annotations

from typing import Any

from llmwright.core.errors import CheckError
from llmwright.inference.predictor import Predictor
from llmwright.serving.model import ServedModel


def check(predictor: Predictor, count: int) -> dict[str, Any]:
    raise CheckError("SERVE-003")


def examples(model: ServedModel, count: int = 4) -> list[dict[str, str]]:
    return []
