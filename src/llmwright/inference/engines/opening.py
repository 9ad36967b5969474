"""Opening what lies in a model's or an export's folder: engine and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmwright.core.errors import ConfigError, InputError, closest
from llmwright.core.locale import text
from llmwright.inference.engines.config import ENGINES
from llmwright.inference.engines.engine import Engine
from llmwright.inference.engines.exported import EXPORT_FILE
from llmwright.models.adapters.base import holds_weights
from llmwright.tasks.contract import Contract

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def open_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a folder without importing torch.

    The general loader asks the Auto classes of transformers, which import torch. A saved fast
    tokenizer needs none of that: everything it does is in ``tokenizer.json``.

    Raises:
        InputError: No ``tokenizer.json`` (``INFER-002``), or it is damaged (``INFER-003``).
    """
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise InputError("INFER-002", path=folder)
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the Rust library raises plain Exception
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError("INFER-003", path=folder, reason=reason) from error
    return tokenizer


def open_engine(folder: Path, contract: Contract, name: str = "auto") -> Engine:
    """Return an engine with the model of a folder loaded.

    Args:
        folder: Model or export.
        contract: The model's contract.
        name: A registered engine, or ``auto``: the one whose files are there.

    Raises:
        ConfigError: No such engine (``INFER-004``).
        InputError: No engine, or not this one, runs what is there (``INFER-001``).
    """
    if name != "auto" and name not in ENGINES:
        raise ConfigError("INFER-004", name=name, hint=closest(name, ["auto", *ENGINES.names()]))
    # torch comes last: a folder with an export in it is meant to be run as an export.
    names = [name] if name != "auto" else sorted(ENGINES.names(), key=lambda n: n == "torch")
    for candidate in names:
        if candidate == "torch" and not holds_weights(folder):
            continue
        engine = ENGINES.get(candidate)
        if engine.fits(folder):
            return engine.open(folder, contract)
    raise InputError("INFER-001", path=folder, engine=name)


def choice_in_words(engine: Engine, asked: str) -> str:
    """Return which engine runs a model and why, as ``onnx, int8: the export's files are for it``.

    Args:
        engine: The one that was opened.
        asked: What was asked for: a name, or ``auto``.
    """
    if asked != "auto":
        reason = "inference.engine_asked"
    elif (engine.folder / EXPORT_FILE).is_file():
        reason = "inference.engine_of_export"
    else:
        reason = "inference.engine_of_weights"
    return text(
        "inference.engine_chosen",
        engine=engine.name,
        number_format=engine.number_format,
        reason=text(reason),
    )
