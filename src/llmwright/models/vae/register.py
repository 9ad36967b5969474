"""Make the text VAE known to transformers."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from llmwright.models.vae.configuration import TextVaeConfig
from llmwright.models.vae.modeling import TextVae


def register() -> None:
    """Register the configuration and the model with the Auto classes; again does no harm.

    As a causal language model it predicts each token from those before it and the latent vector.
    """
    AutoConfig.register(TextVaeConfig.model_type, TextVaeConfig, exist_ok=True)
    AutoModel.register(TextVaeConfig, TextVae, exist_ok=True)
    AutoModelForCausalLM.register(TextVaeConfig, TextVae, exist_ok=True)


register()
