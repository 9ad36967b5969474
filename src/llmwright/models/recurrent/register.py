"""Make the recurrent models known to transformers."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from llmwright.models.recurrent.configuration import RecurrentConfig
from llmwright.models.recurrent.modeling import (
    RecurrentForCausalLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
)


def register() -> None:
    """Register the configuration and the models with the Auto classes; again does no harm."""
    AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig, exist_ok=True)
    AutoModel.register(RecurrentConfig, RecurrentModel, exist_ok=True)
    AutoModelForCausalLM.register(RecurrentConfig, RecurrentForCausalLM, exist_ok=True)
    AutoModelForSequenceClassification.register(
        RecurrentConfig, RecurrentForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        RecurrentConfig, RecurrentForTokenClassification, exist_ok=True
    )


register()
