"""A model as one GGUF file, for llama.cpp and what is built on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf import (
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    PoolingType,
    quantize,
)

from llmwright.core.errors import ResourceError
from llmwright.export.gguf.families import family_of, rope_factors, weights_of
from llmwright.export.gguf.modelfile import FILE as MODELFILE
from llmwright.export.gguf.modelfile import modelfile
from llmwright.export.gguf.tokens import compare_tokens
from llmwright.export.gguf.vocabulary import write_vocabulary
from llmwright.inference.engines.opening import open_contract
from llmwright.inference.proof.probes import PROBES_FILE, Probes
from llmwright.models.adapters.attached import attached_to
from llmwright.models.adapters.put import merge
from llmwright.models.load import load_model, load_tokenizer
from llmwright.tasks.task import TASKS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llmwright.export.config import GgufFormat

FILE = "model.gguf"
TYPES = {
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
# What every token passes keeps more bits, as in llama.cpp's own files.
ENDS = ("token_embd.weight", "output.weight")
# Read by row and added, never multiplied: small, and llama.cpp wants them in full.
ADDED = ("position_embd.weight", "token_types.weight")
BLOCK = 32
POOLING = {"mean": PoolingType.MEAN, "cls": PoolingType.CLS, "last": PoolingType.LAST}


def export_gguf(
    chosen: GgufFormat, source: Path, folder: Path, report: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Write the GGUF file of a model and return what ``export.json`` says about it.

    Args:
        chosen: Says in how many bits weights are kept.
        source: Model folder.
        folder: Where the file goes.
        report: Is told how many weights are written.

    Raises:
        InputError: llama.cpp has no such model (``EXPORT-020`` to ``EXPORT-022``).
    """
    contract = open_contract(source)
    task = TASKS.get(contract.task)
    model = load_model(source, task=task.auto_class)
    if attached_to(model) is not None:
        merge(model)
    pooling = None if contract.embedding is None else POOLING[contract.embedding.pooling]
    tokenizer, path = load_tokenizer(source), folder / FILE
    vocabulary = write_gguf(model, tokenizer, path, chosen.precision, report, pooling)
    context = int(model.config.max_position_embeddings)
    info: dict[str, Any] = {"graphs": {"model": FILE}, "context": context, "vocabulary": vocabulary}
    if vocabulary is None:
        return info
    if task.generates:
        content, has_template = modelfile(FILE, contract, tokenizer, context)
        (folder / MODELFILE).write_text(content, encoding="utf-8")
        info["modelfile"] = {"file": MODELFILE, "template": has_template}
    with contextlib.suppress(ResourceError):
        # Without llama.cpp nothing is compared; that the file was not run is said anyway.
        info["tokenizer"] = asdict(compare_tokens(path, tokenizer, texts_of(source)))
    return info


def texts_of(source: Path) -> Iterator[str]:
    """Yield the texts of a model's probes; nothing where it was published without any."""
    probes = Probes.open(source).probes if (source / PROBES_FILE).is_file() else []
    for probe in probes:
        for value in probe.row.values():
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from (str(part["content"]) for part in value if "content" in part)


def write_gguf(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    path: Path,
    precision: str,
    report: Callable[[str, int, int], None],
    pooling: PoolingType | None = None,
) -> str | None:
    """Write a model as one file; return llama.cpp's name of its tokenizer's kind, if it has one.

    Args:
        model: Any of the known families.
        tokenizer: Its tokenizer.
        path: Where the file goes.
        precision: In how many bits weights are kept: ``bf16``, ``q8_0`` or ``q4_0``.
        report: Is told how many weights are written.
        pooling: How other programs are to make a text's vector; ours does it itself.

    Raises:
        InputError: As `export_gguf`.
    """
    family = family_of(model.config)
    writer = GGUFWriter(path, MODEL_ARCH_NAMES[family.arch])
    qtype, file_type = TYPES[precision]
    writer.add_file_type(file_type)
    writer.add_name(model.config.model_type)
    family.sizes(writer, model.config)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    rows = int(model.get_input_embeddings().weight.shape[0])
    vocabulary = write_vocabulary(writer, tokenizer, rows)
    factors = rope_factors(model.config)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    total = len(model.state_dict())
    for index, (name, weight) in enumerate(weights_of(family, model.config, _weights(model))):
        report(name, index, total)
        kept = type_of(name, weight, qtype)
        writer.add_tensor(name, quantize(weight, kept), raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    report("saved", total, total)
    return vocabulary


def type_of(name: str, weight: np.ndarray, wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    """Return in how many bits a weight is kept."""
    if weight.ndim < 2 or name in ADDED:
        return GGMLQuantizationType.F32
    if wanted == GGMLQuantizationType.BF16:
        return wanted
    if weight.shape[-1] % BLOCK:
        # Blocks are 32 numbers of a row.
        return GGMLQuantizationType.BF16
    return GGMLQuantizationType.Q8_0 if name in ENDS else wanted


def _weights(model: PreTrainedModel) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each weight once; the output layer only where it is one of its own."""
    seen: set[int] = set()
    for name, weight in model.state_dict().items():
        if weight.data_ptr() in seen:
            continue
        seen.add(weight.data_ptr())
        yield name, weight.detach().float().cpu().numpy()
