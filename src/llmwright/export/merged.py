"""A whole model as a plain Hugging Face folder: adapters merged, in safetensors, in parts.

Whatever reads such folders can use it without us: the tokenizer, its chat template, and a
``generation_config.json`` that stops where the contract stops.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.inference.engines.opening import open_contract
from llmwright.models.adapters.attached import attached_to
from llmwright.models.adapters.put import merge
from llmwright.models.load import load_model, quiet
from llmwright.tasks.task import TASKS

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

    from llmwright.export.config import SafetensorsFormat
    from llmwright.tasks.contract import Contract


def export_safetensors(
    chosen: SafetensorsFormat, source: Path, folder: Path, report: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Write the weights of a model and return what ``export.json`` says about them.

    Args:
        chosen: Says how large a file may be.
        source: Model folder.
        folder: Where the files go.
        report: Is told when they are written.

    Raises:
        InputError: As `load_model`.
    """
    contract = open_contract(source)
    task = TASKS.get(contract.task)
    report("weights", 0, 1)
    model = load_model(source, task=task.auto_class)
    if attached_to(model) is not None:
        merge(model)
    if task.generates:
        model.generation_config = generation_of(model, contract)
    with quiet():
        model.save_pretrained(folder, max_shard_size=f"{chosen.max_file_gb}GB")
    report("saved", 1, 1)
    return {"context": getattr(model.config, "max_position_embeddings", None)}


def generation_of(model: PreTrainedModel, contract: Contract) -> GenerationConfig:
    """Return how texts are written where nobody says otherwise, in transformers' own words."""
    from transformers import GenerationConfig

    wanted, special = contract.generation, contract.special_tokens
    values: dict[str, Any] = {
        "max_new_tokens": wanted.max_new_tokens,
        "eos_token_id": contract.stop_token_ids,
        "pad_token_id": special.get("pad"),
        "bos_token_id": special.get("bos"),
        "repetition_penalty": wanted.repetition_penalty,
    }
    if model.config.is_encoder_decoder:
        values["decoder_start_token_id"] = special["decoder_start"]
    if wanted.temperature > 0:
        sampling = {name: getattr(wanted, name) for name in ("temperature", "top_k", "top_p")}
        values |= {"do_sample": True, **sampling}
        values |= {"min_p": wanted.min_p} if wanted.min_p else {}
    return GenerationConfig(**values)
