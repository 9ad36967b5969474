"""Adapters: which weights learn."""

from __future__ import annotations

from typing import ClassVar, Literal

from llmwright.core.config import Kind
from llmwright.core.registry import Registry

_CONFIG = "llmwright.training.adapters.config"

# `build(model)` returns the model with only those weights trainable that shall be.
ADAPTERS: Registry[type[Kind]] = Registry("adapter", {"full": f"{_CONFIG}:FullAdapter"})


class FullAdapter(Kind):
    """Train every weight."""

    implementation: ClassVar[str] = "llmwright.training.adapters.full:build"

    kind: Literal["full"] = "full"
    """Name of this adapter."""
