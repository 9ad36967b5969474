"""Train every weight that the model does not hold fixed itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmwright.training.adapters.adapter import AdapterRequest, whole_model
from llmwright.training.adapters.config import FullAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build(adapter: FullAdapter, request: AdapterRequest) -> PreTrainedModel:
    """Return the model as it came: all weights learn but word vectors that shall stay."""
    return whole_model(request)
