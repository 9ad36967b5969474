"""Inputs of the probes, chosen and read before training: a wrong file must not cost a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmwright.core.errors import InputError, LLMwrightError
from llmwright.core.locale import text
from llmwright.data.records import Row
from llmwright.inference.proof.generated import generated_rows
from llmwright.inference.proof.probes import probe_rows
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Task
from llmwright.training.config import ProbesConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class ProbeInputs:
    """What a model is asked right after training.

    Attributes:
        rows: Inputs, without targets and personal data.
        source: Where they come from: ``validation``, ``train``, ``file`` or ``generated``.
    """

    rows: list[Row]
    source: str


@dataclass(frozen=True)
class ProbeRequest:
    """What probes are chosen from.

    Attributes:
        config: Where they come from and how many.
        task: Encodes them.
        tokenizer: The model's.
        contract: The model's.
        splits: Rows of the training and, where there is one, the validation split.
        root: Project folder, where a relative path starts.
        seed: Of generated inputs.
    """

    config: ProbesConfig
    task: Task
    tokenizer: PreTrainedTokenizerFast
    contract: Contract
    splits: Mapping[str, Sequence[Row]]
    root: Path
    seed: int


def choose_probes(request: ProbeRequest) -> ProbeInputs:
    """Return inputs that the model can read: each of them was encoded once.

    Raises:
        InputError: The file cannot be used or no row has an input (``TRAIN-014``), or a row cannot
            be encoded (the task's own error).
    """
    config, contract = request.config, request.contract
    source: str = config.source
    if source == "auto":
        source = "validation" if "validation" in request.splits else "train"
    rows: Sequence[Row]
    if source == "file":
        assert config.file is not None
        rows = read_rows(request.root / config.file, request.task, contract)
    elif source == "generated":
        rows = generated_rows(request.tokenizer, contract, 2 * config.count, request.seed)
    else:
        rows = request.splits[source]
    chosen = probe_rows(rows, contract, config.count)
    if not chosen:
        raise InputError("TRAIN-014", source=config.file or source, reason=text("training.no_rows"))
    for row in chosen:
        request.task.encode_input(row, request.tokenizer, contract)
    return ProbeInputs(chosen, source)


def read_rows(path: Path, task: Task, contract: Contract) -> list[Row]:
    """Return the rows of a JSONL file, read as `predict` reads them.

    Raises:
        InputError: It cannot be read, or a row has no input (``TRAIN-014``).
    """
    rows: list[Row] = []
    place = str(path)
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            place = f"{path}:{number}"
            if line.strip():
                rows.append(task.read(dict(json.loads(line)), contract))
    except LLMwrightError as error:
        raise InputError("TRAIN-014", source=place, reason=error.message.rstrip(".。")) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError("TRAIN-014", source=place, reason=str(error)) from error
    return rows
