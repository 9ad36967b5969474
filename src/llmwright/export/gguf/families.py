"""How model families of transformers are written in GGUF: names, sizes and order of weights.

llama.cpp knows an architecture by its name and reads its sizes from keys with that prefix. Each
family here is one that llama.cpp runs and that a test compares with torch.

Shapes: O outputs, I inputs of a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf import MODEL_ARCH, GGUFWriter, RopeScalingType, get_tensor_name_map

from llmwright.core.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Weights = Iterator[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Family:
    """One architecture of llama.cpp.

    Attributes:
        arch: Its name there.
        sizes: Writes what llama.cpp must know of a model's config.
        adapt: Returns a weight as llama.cpp wants it, or None where it has no use for it; called
            with its name, itself and the config.
        prefix: Of the body's weights in transformers, which GGUF's own table leaves out.
    """

    arch: MODEL_ARCH
    sizes: Callable[[GGUFWriter, PretrainedConfig], None]
    adapt: Callable[[str, np.ndarray, PretrainedConfig], np.ndarray | None]
    prefix: str = ""


def family_of(config: PretrainedConfig) -> Family:
    """Return the family of a model.

    Raises:
        InputError: llama.cpp is not told of it here (``EXPORT-020``), or it has a part that GGUF
            cannot express (``EXPORT-021``).
    """
    check_family(config.model_type)
    refuse_unknown_parts(config)
    return FAMILIES[config.model_type]


def check_family(model_type: str) -> None:
    """Check that models of a type are written in GGUF here.

    Raises:
        InputError: They are not (``EXPORT-020``).
    """
    if model_type not in FAMILIES:
        raise InputError("EXPORT-020", name=model_type, known=", ".join(sorted(FAMILIES)))


def refuse_unknown_parts(config: PretrainedConfig) -> None:
    """Raise for settings that would be lost, so that the file would answer otherwise.

    Raises:
        InputError: ``EXPORT-021``.
    """
    scaling = rope_of(config)
    kind = scaling.get("rope_type", "default")
    if kind not in ("default", "linear", "llama3"):
        raise InputError("EXPORT-021", name=config.model_type, part=f"rope_type {kind}")
    window, context = getattr(config, "sliding_window", None), config.max_position_embeddings
    used = getattr(config, "use_sliding_window", True)
    if used and window is not None and window < context:
        raise InputError("EXPORT-021", name=config.model_type, part=f"sliding_window {window}")
    activation = getattr(config, "hidden_act", None) or getattr(config, "activation_function", "")
    if activation not in ACTIVATIONS[config.model_type]:
        raise InputError("EXPORT-021", name=config.model_type, part=f"activation {activation}")


def rope_of(config: PretrainedConfig) -> Mapping[str, Any]:
    """Return the settings of rotary positions; empty where a model has none."""
    return getattr(config, "rope_parameters", None) or {}


def weights_of(family: Family, config: PretrainedConfig, weights: Weights) -> Weights:
    """Yield the weights of a model under llama.cpp's names and in its order.

    Raises:
        InputError: One has no place in the file (``EXPORT-022``).
    """
    names = get_tensor_name_map(family.arch, config.num_hidden_layers)
    for name, weight in weights:
        adapted = family.adapt(name, weight, config)
        if adapted is None:
            continue
        short = name.removeprefix(family.prefix)
        place = names.get_name(short, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise InputError("EXPORT-022", name=name)
        yield place, adapted


def _common(writer: GGUFWriter, config: PretrainedConfig) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)


def _llama_sizes(writer: GGUFWriter, config: PretrainedConfig) -> None:
    """Write the sizes of models with rotary positions and RMS norms."""
    _common(writer, config)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = rope_of(config)
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def _gpt2_sizes(writer: GGUFWriter, config: PretrainedConfig) -> None:
    _common(writer, config)
    writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _bert_sizes(writer: GGUFWriter, config: PretrainedConfig) -> None:
    _common(writer, config)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_token_type_count(config.type_vocab_size)


def _plain(name: str, weight: np.ndarray, config: PretrainedConfig) -> np.ndarray | None:
    return weight


def _llama(name: str, weight: np.ndarray, config: PretrainedConfig) -> np.ndarray | None:
    """Return a weight, rows of queries and keys in the order of llama.cpp's rotation.

    transformers turns the first half of a head's numbers with the second; llama.cpp's Llama turns
    neighbours.
    """
    if ".q_proj." in name:
        return interleaved(weight, config.num_attention_heads)
    if ".k_proj." in name:
        return interleaved(weight, config.num_key_value_heads)
    return weight


def interleaved(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Return rows of each head so that the two that are turned together are neighbours.

    Args:
        weight: (O, I) or (O,).
        num_heads: Of equal size.
    """
    halves = weight.reshape(num_heads, 2, len(weight) // num_heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _gpt2(name: str, weight: np.ndarray, config: PretrainedConfig) -> np.ndarray | None:
    """Return a weight, those of GPT-2's own layers, which are (I, O), turned round."""
    if name.endswith((".attn.bias", ".attn.masked_bias")):
        return None
    own = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return np.ascontiguousarray(weight.T) if name.endswith(own) else weight


def _bert(name: str, weight: np.ndarray, config: PretrainedConfig) -> np.ndarray | None:
    """Return a weight of the body; heads are not run by llama.cpp."""
    if name.startswith(("cls.", "classifier.")) or "pooler." in name or "position_ids" in name:
        return None
    return weight


FAMILIES = {
    "llama": Family(MODEL_ARCH.LLAMA, _llama_sizes, _llama),
    "mistral": Family(MODEL_ARCH.LLAMA, _llama_sizes, _llama),
    "qwen2": Family(MODEL_ARCH.QWEN2, _llama_sizes, _plain),
    "qwen3": Family(MODEL_ARCH.QWEN3, _llama_sizes, _plain),
    "gpt2": Family(MODEL_ARCH.GPT2, _gpt2_sizes, _gpt2),
    "bert": Family(MODEL_ARCH.BERT, _bert_sizes, _bert, "bert."),
}
# What llama.cpp computes for a family, under the names transformers has for it.
ACTIVATIONS = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), ("silu", "swish")),
    "gpt2": ("gelu_new", "gelu_pytorch_tanh"),
    "bert": ("gelu", "gelu_new", "gelu_pytorch_tanh"),
}


def rope_factors(config: PretrainedConfig) -> np.ndarray | None:
    """Return what Llama 3 divides each rotation's frequency by (D / 2,); None without that.

    Source: transformers' `_compute_llama3_parameters`, after Llama 3.1's reference code.
    """
    rope = rope_of(config)
    if rope.get("rope_type") != "llama3":
        return None
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    lengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, head, 2) / head)
    old, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (old / lengths - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    factors = np.where(lengths > old / low, factor, np.where(lengths < old / high, 1.0, between))
    return factors.astype(np.float32)
