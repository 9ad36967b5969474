"""Opening what lies in a model's or an export's folder: contract, tokenizer and engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmwright.core.errors import CheckError, ConfigError, InputError, closest
from llmwright.core.events import Emit, unheard
from llmwright.core.locale import text
from llmwright.inference.engines.config import ENGINES
from llmwright.inference.engines.engine import Engine
from llmwright.inference.engines.exported import EXPORT_FILE
from llmwright.models.adapters.base import holds_weights
from llmwright.tasks import chat
from llmwright.tasks.contract import CONTRACT_FILE, Contract
from llmwright.tasks.published.derive import derive_contract
from llmwright.tokenization.load import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Described:
    """What a folder says of its model, the weights not yet read.

    Attributes:
        contract: Its own, or what the files of a published model amount to.
        tokenizer: Its tokenizer.
        notes: Sentences on how a published model was read; nothing where the contract is its own.
    """

    contract: Contract
    tokenizer: PreTrainedTokenizerFast
    notes: list[str] = field(default_factory=list)


def open_contract(folder: Path) -> Contract:
    """Return the contract of a folder.

    Raises:
        CheckError, InputError: As `describe`.
    """
    known = (folder / CONTRACT_FILE).is_file()
    return Contract.open(folder) if known else describe(folder).contract


def describe(folder: Path) -> Described:
    """Return contract and tokenizer of a folder, which have to fit.

    Raises:
        CheckError: The chat template is not the one of the training (``INFER-023``).
        InputError: No contract and no ``config.json`` from which one could be made (``TASK-001``),
            a contract that is damaged or cannot be made (``TASK-014``, ``TASK-041`` to
            ``TASK-043``), or no tokenizer (``INFER-002``, ``INFER-003``).
    """
    if (folder / CONTRACT_FILE).is_file() or not (folder / "config.json").is_file():
        contract, tokenizer = Contract.open(folder), open_tokenizer(folder)
        if contract.chat_template_sha256 not in (None, chat.known_sha256(tokenizer)):
            raise CheckError("INFER-023", path=folder)
        return Described(contract, tokenizer)
    if (folder / "tokenizer.json").is_file():
        tokenizer = open_tokenizer(folder)
    else:
        # Older models have their tokenizer in another form; reading it takes torch.
        tokenizer = load_tokenizer(folder)
    contract, notes = derive_contract(folder, tokenizer)
    return Described(contract, tokenizer, notes)


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


def open_engine(
    folder: Path, contract: Contract, name: str = "auto", emit: Emit = unheard
) -> Engine:
    """Return an engine with the model of a folder loaded.

    Args:
        folder: Model or export.
        contract: The model's contract.
        name: A registered engine, or ``auto``: the one whose files are there.
        emit: Is told how it goes, where that takes long.

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
        if (engine.automatic or name != "auto") and engine.fits(folder):
            return engine.open(folder, contract, emit)
    raise InputError("INFER-001", path=folder, engine=name)


def choice_in_words(engine: Engine, asked: str) -> str:
    """Return which engine runs a model and why, as ``onnx, int8: the export's files are for it``.

    Args:
        engine: The one that was opened.
        asked: What was asked for: a name, or ``auto``.
    """
    if asked != "auto":
        reason = "inference.engine_asked"
    elif engine.name == "endpoint":
        reason = "inference.engine_of_address"
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
