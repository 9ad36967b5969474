"""Where a served model comes from, and what it will take, before it is loaded."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.artifacts import MANIFEST, Artifact
from llmwright.inference.engines.opening import open_contract
from llmwright.inference.proof.probes import TENSORS_FILE
from llmwright.inference.proof.sound import open_sound
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.offer import Offer
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS

Styles = Mapping[str, Mapping[str, str]]
WEIGHTS = (".safetensors", ".onnx", ".data", ".gguf", ".bin", ".pt")
# Bytes of one number in a key-value cache: float32 is the widest of all engines.
CACHE_NUMBER_BYTES = 4


@dataclass(frozen=True)
class Source:
    """A model that can be loaded, and loaded again.

    Attributes:
        offer: What it promises.
        open: Loads it.
        close: Gives its memory back.
        size_bytes: Estimate of the memory it takes: weights and key-value cache.
    """

    offer: Offer
    open: Callable[[], ServedModel]
    close: Callable[[ServedModel], None] = ServedModel.close
    size_bytes: int = 0

    @classmethod
    def loaded(cls, model: ServedModel) -> Source:
        """Return the source of a model that somebody else has loaded and will close."""
        return cls(model, lambda: model, close=lambda _: None)


def source_of(
    artifact: Artifact, name: str, engine: str, num_texts: int, styles: Styles | None = None
) -> Source:
    """Return the source of an artifact.

    Args:
        artifact: A model or an export.
        name: What clients call it; its task when empty.
        engine: A registered engine, or ``auto``.
        num_texts: Texts that may be written at the same time, for the estimate.
        styles: Of chat models, besides the model's own.

    Raises:
        CheckError, InputError: It has no readable contract (`open_contract`).
    """
    contract = styled(open_contract(artifact.path), styles or {})
    offer = Offer(contract, name or contract.task, artifact.id, artifact.kind, created(artifact))

    def opened() -> ServedModel:
        predictor = open_sound(artifact.path, engine=engine)
        predictor.contract = styled(predictor.contract, styles or {})
        return ServedModel(predictor, offer.name, offer.artifact, offer.kind, offer.created)

    return Source(offer, opened, size_bytes=estimated_bytes(artifact.path, num_texts))


def styled(contract: Contract, styles: Styles) -> Contract:
    """Return the contract of a chat model with more styles; another's as it is."""
    if contract.row_type != "messages" or not TASKS.get(contract.task).generates:
        return contract
    joined = {
        name: {**contract.styles.get(name, {}), **styles.get(name, {})}
        for name in [*contract.styles, *styles]
        # What a model learned it need not be told.
        if name not in contract.controls
    }
    return contract.model_copy(update={"styles": joined})


def created(artifact: Artifact) -> int:
    """Return when an artifact was made, in seconds since 1970."""
    if not (artifact.path / MANIFEST).is_file():
        return int((artifact.path / "config.json").stat().st_mtime)
    stamp = files.read_json(artifact.path / MANIFEST)["created"]
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


def estimated_bytes(folder: Path, num_texts: int) -> int:
    """Return about how much memory a model takes: its weights, and keys and values of full texts.

    Args:
        folder: The model's files.
        num_texts: Texts that may be written at the same time.
    """
    found = [file for file in folder.rglob("*") if file.suffix in WEIGHTS]
    weights = sum(file.stat().st_size for file in found if file.name != TENSORS_FILE)
    path = folder / "config.json"
    config = files.read_json(path) if path.is_file() else {}
    return weights + num_texts * _cache_bytes(config)


def _cache_bytes(config: dict[str, Any]) -> int:
    """Return the size of the keys and values of one full text; 0 where the layout is unknown."""
    needed = ("num_hidden_layers", "num_attention_heads", "hidden_size", "max_position_embeddings")
    if not all(isinstance(config.get(name), int) for name in needed):
        return 0
    layers, heads, hidden, context = (int(config[name]) for name in needed)
    size = config.get("head_dim") or hidden // heads
    kept = config.get("num_key_value_heads") or heads
    return int(2 * layers * kept * size * context * CACHE_NUMBER_BYTES)
