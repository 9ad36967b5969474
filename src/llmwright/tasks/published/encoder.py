"""What a folder of sentence-transformers says of how a text becomes a vector."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmwright.core import files
from llmwright.core.errors import InputError
from llmwright.tasks.contract import Embedding

MODULES_FILE = "modules.json"
Pooling = Literal["mean", "cls", "last"]
# Settings of a pooling step → ours.
MODES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
NAMES: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}


@dataclass(frozen=True)
class Encoder:
    """A sentence encoder.

    Attributes:
        embedding: How a vector is made.
        max_length: Longest text in tokens; None where only the model decides.
    """

    embedding: Embedding
    max_length: int | None


def encoder_of(folder: Path) -> Encoder | None:
    """Return what ``modules.json`` and the steps it names say; None without that file.

    Raises:
        InputError: A file is damaged (``TASK-041``), or a step is not one of these: transformer,
            pooling by mean, first or last token, normalisation (``TASK-043``).
    """
    if not (folder / MODULES_FILE).is_file():
        return None
    pooling: Pooling | None = None
    normalized = False
    for module in _read(folder / MODULES_FILE):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _pooling(_read(_inside(folder, str(module["path"])) / "config.json"), folder)
        elif kind == "Normalize":
            normalized = True
        elif kind != "Transformer" or module.get("path"):
            raise InputError("TASK-043", path=folder, step=kind or "-")
    if pooling is None:
        raise InputError("TASK-043", path=folder, step="-")
    settings = _optional(folder / "config_sentence_transformers.json")
    reading = _optional(folder / "sentence_bert_config.json")
    if reading.get("do_lower_case"):
        raise InputError("TASK-043", path=folder, step="do_lower_case")
    length = reading.get("max_seq_length")
    embedding = Embedding(
        pooling=pooling,
        normalized=normalized,
        prompts=settings.get("prompts") or {},
        default_prompt=settings.get("default_prompt_name") or "",
    )
    return Encoder(embedding, int(length) if length else None)


def _pooling(settings: dict[str, Any], folder: Path) -> Pooling:
    """Return how a pooling step works.

    Raises:
        InputError: In another way than ours, or in several (``TASK-043``).
    """
    named = settings.get("pooling_mode")
    chosen = [named] if isinstance(named, str) else [n for n, on in settings.items() if on is True]
    chosen = [name for name in chosen if name != "include_prompt"]
    found = {**MODES, **NAMES}.get(chosen[0]) if len(chosen) == 1 else None
    if found is None:
        raise InputError("TASK-043", path=folder, step=", ".join(map(str, chosen)) or "-")
    return found


def _inside(folder: Path, name: str) -> Path:
    """Return a folder's part.

    Raises:
        InputError: The name leads out of it (``TASK-043``).
    """
    part = Path(os.path.normpath(folder / name))
    if not part.is_relative_to(os.path.normpath(folder)):
        raise InputError("TASK-043", path=folder, step=name)
    return part


def _optional(path: Path) -> dict[str, Any]:
    return dict(_read(path)) if path.is_file() else {}


def _read(path: Path) -> Any:
    try:
        return files.read_json(path)
    except (OSError, ValueError) as error:
        raise InputError("TASK-041", path=path, reason=str(error)) from error
