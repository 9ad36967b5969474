"""Train every weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmwright.training.adapters.config import FullAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build(adapter: FullAdapter, model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with all of its weights trainable."""
    model.requires_grad_(True)
    return model
