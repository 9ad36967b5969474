"""Which models a format cannot take yet, told before any work is done and without torch."""

from __future__ import annotations

from pathlib import Path

from llmwright.core import files
from llmwright.core.errors import InputError
from llmwright.inference.engines.opening import open_contract
from llmwright.models.adapters.base import ADAPTER_CONFIG, is_adapter
from llmwright.tasks.task import TASKS

# Model types whose generation has no graph: their state is no key-value cache.
STATEFUL = ("llmwright_recurrent", "llmwright_vae")


def refuse_unsupported(source: Path, format_name: str) -> None:
    """Raise for a model that has no graph yet.

    Args:
        source: Model folder.
        format_name: The wanted format.

    Raises:
        InputError: A recurrent generator or a VAE (``EXPORT-002``), or a plain ``rnn`` cell, whose
            unrolled graph would fix the length of the text (``EXPORT-003``); an adapter that
            cannot be merged (``MODEL-056``); in GGUF a head (``EXPORT-030``) or a family that it is
            not written for (``EXPORT-020``); an architecture of our own as a folder for others
            (``EXPORT-024``).
    """
    contract = open_contract(source)
    task = TASKS.get(contract.task)
    if format_name == "gguf" and not (task.generates or task.embeds):
        raise InputError("EXPORT-030", task=contract.task)
    if format_name == "gguf" and contract.model_type not in STATEFUL:
        from llmwright.export.gguf.families import check_family

        check_family(contract.model_type)
    if is_adapter(source):
        kind = str(files.read_json(source / ADAPTER_CONFIG)["peft_type"])
        if kind != "LORA":
            raise InputError("MODEL-056", kind=kind.lower().replace("_", " "))
    if contract.model_type not in STATEFUL:
        return
    config = files.read_json(source / "config.json")
    name = next(iter(config.get("architectures") or []), contract.model_type)
    if format_name == "safetensors":
        raise InputError("EXPORT-024", name=name)
    if task.generates:
        raise InputError("EXPORT-002", name=name, format=format_name)
    if config.get("cell") == "rnn":
        raise InputError("EXPORT-003", name=name, cell="rnn")
