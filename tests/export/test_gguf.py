"""Files in GGUF compute what their models compute, as llama.cpp runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.inference.conftest import make_tokenizer
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from llmwright.core.errors import InputError
from llmwright.export.gguf.families import family_of
from llmwright.export.gguf.write import POOLING, write_gguf
from llmwright.inference.engines.llamacpp.engine import LlamaCppEngine

SIZES = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}


def made(kind: Callable[..., Any], config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config).eval()
    # Biases and norms begin with 0 and 1, which hides what is done to them.
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.02)
    return model


FAMILIES = {
    "llama": lambda size: made(LlamaForCausalLM, LlamaConfig(vocab_size=size, **SIZES)),
    "tied": lambda size: made(
        LlamaForCausalLM, LlamaConfig(vocab_size=size, tie_word_embeddings=True, **SIZES)
    ),
    "llama3": lambda size: made(
        LlamaForCausalLM, LlamaConfig(vocab_size=size, rope_parameters=LLAMA3, **SIZES)
    ),
    "linear": lambda size: made(
        LlamaForCausalLM, LlamaConfig(vocab_size=size, rope_parameters=LINEAR, **SIZES)
    ),
    "mistral": lambda size: made(
        MistralForCausalLM, MistralConfig(vocab_size=size, sliding_window=None, **SIZES)
    ),
    "qwen2": lambda size: made(Qwen2ForCausalLM, Qwen2Config(vocab_size=size, **SIZES)),
    "qwen3": lambda size: made(
        Qwen3ForCausalLM, Qwen3Config(vocab_size=size, head_dim=64, **SIZES)
    ),
    "gpt2": lambda size: made(
        GPT2LMHeadModel,
        GPT2Config(vocab_size=size, n_embd=128, n_layer=2, n_head=4, n_positions=128),
    ),
}


@pytest.mark.parametrize("precision", ["bf16", "q8_0", "q4_0"])
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_computes_the_same(name: str, precision: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = FAMILIES[name](len(tokenizer))
    path = tmp_path / "model.gguf"
    assert write_gguf(model, tokenizer, path, precision, lambda *_: None) == "gpt2"
    ids_T = np.random.default_rng(0).integers(0, len(tokenizer), 60)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids_T)[None]).logits.numpy()
    engine = LlamaCppEngine(path, tmp_path, precision, 2)
    batch = {"input_ids": ids_T[None], "attention_mask": np.ones((1, 60), dtype=np.int64)}
    found = engine.logits(batch)
    engine.close()
    spread = expected.std()
    # Rounding of weights, as a share of how far logits are apart; a wrong order of weights gives 1.
    limit = {"bf16": 0.02, "q8_0": 0.05, "q4_0": 0.45}[precision]
    assert np.sqrt(np.square(found - expected).mean()) < limit * spread
    size = path.stat().st_size / sum(w.numel() for w in model.parameters())
    assert size < {"bf16": 2.6, "q8_0": 1.7, "q4_0": 1.3}[precision]


BODIES = {
    "bert": (
        BertModel,
        BertConfig(vocab_size=400, **{k: v for k, v in SIZES.items() if "key_value" not in k}),
    ),
    "qwen3": (Qwen3Model, Qwen3Config(vocab_size=400, head_dim=64, **SIZES)),
}


@pytest.mark.parametrize("precision", ["bf16", "q8_0"])
@pytest.mark.parametrize("name", BODIES)
def test_bodies_give_the_same_vectors(name: str, precision: str, tmp_path: Path) -> None:
    model = made(*BODIES[name])
    path = tmp_path / "model.gguf"
    write_gguf(model, make_tokenizer(), path, precision, lambda *_: None, POOLING["mean"])
    random = np.random.default_rng(0)
    lengths = [128, 100, 7, 1, *[30] * 40]
    ids_BT = random.integers(0, 300, (len(lengths), 128))
    mask_BT = (np.arange(128) < np.array(lengths)[:, None]).astype(np.int64)
    engine = LlamaCppEngine(path, tmp_path, precision, writes=False, sees_all=name == "bert")
    found_BTD = engine.hidden({"input_ids": ids_BT, "attention_mask": mask_BT})
    engine.close()
    with torch.no_grad():
        tensors = torch.from_numpy(ids_BT), torch.from_numpy(mask_BT)
        expected_BTD = model(*tensors).last_hidden_state.numpy()
    for row, length in enumerate(lengths):
        one, two = found_BTD[row, :length], expected_BTD[row, :length]
        lengths_T = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        assert ((one * two).sum(axis=1) / lengths_T).min() > 0.999
        assert not found_BTD[row, length:].any()


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0}), "EXPORT-021"),
        (MistralConfig(sliding_window=64), "EXPORT-021"),
        (LlamaConfig(hidden_act="gelu"), "EXPORT-021"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(config: Any, code: str) -> None:
    with pytest.raises(InputError, match=code):
        family_of(config)
