"""Learning-rate factors: by name, of embeddings, and of an adapter itself."""

from __future__ import annotations

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from llmwright.core.errors import ConfigError
from llmwright.training.adapters.config import FullAdapter, LoraAdapter
from llmwright.training.optimizers.build import lr_factors


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))


def test_factors_of_names_and_embeddings_multiply(model: LlamaForCausalLM) -> None:
    factor = lr_factors(
        model, {"embeddings": 0.1, "layers.0.*": 2.0, "q_proj.*": 3.0}, FullAdapter()
    )
    assert factor("model.embed_tokens.weight") == 0.1
    assert factor("lm_head.weight") == 0.1
    assert factor("model.layers.0.self_attn.q_proj.weight") == 6.0
    assert factor("model.layers.0.mlp.up_proj.weight") == 2.0
    assert factor("model.norm.weight") == 1.0


def test_lora_plus_lets_the_second_factor_learn_faster() -> None:
    adapter = LoraAdapter(lr_ratio_b=16)
    assert adapter.lr_factor("model.layers.0.q_proj.lora_B.default.weight") == 16
    assert adapter.lr_factor("model.layers.0.q_proj.lora_A.default.weight") == 1


def test_a_name_that_fits_nothing_that_learns(model: LlamaForCausalLM) -> None:
    with pytest.raises(ConfigError) as caught:
        lr_factors(model, {"embed_token": 0.1}, FullAdapter())
    assert caught.value.code == "TRAIN-109"
    assert 'Did you mean "embed_tokens"' in caught.value.message
