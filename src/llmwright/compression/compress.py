"""The operation `compress`: change the weights, prove the result, and save it with the proof."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmwright.compression.config import CompressConfig
from llmwright.core import artifacts, files
from llmwright.core.artifacts import Artifact, Draft
from llmwright.core.errors import CheckError
from llmwright.core.locale import language, text
from llmwright.core.runs import Run
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.page import parity_page
from llmwright.inference.proof.parity import Check, ParityTable, compare, limits_for
from llmwright.inference.proof.probes import Probes
from llmwright.inference.proof.verify import PAGE_FILE, describe, save_report, summary
from llmwright.models.adapters.base import ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE_FILE
from llmwright.tasks.contract import Contract

PARITY_FILE = "parity.json"
# What belongs to the weights, or to the artifact that they were.
LEFT_BEHIND = (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE_FILE,
    PARITY_FILE,
    PAGE_FILE,
    artifacts.MANIFEST,
    "config.json",
)


@dataclass(frozen=True)
class CompressionRequest:
    """What is to be compressed.

    Attributes:
        source: The model's folder.
        target: Gets the new weights and ``config.json``.
        contract: The model's.
        probes: The model's.
        run: Gets the events.
    """

    source: Path
    target: Path
    contract: Contract
    probes: Probes
    run: Run


def compress(config: CompressConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    """Return the changed model, which has answered the original's probes, with the parity table.

    Raises:
        CheckError: It does not answer like the original (``COMPRESS-002``); a report is saved.
        InputError: It cannot be changed in this way, or has no probes.
    """
    model = inputs["model"]
    contract, probes = Contract.open(model.path), Probes.open(model.path)
    with run.draft("model") as draft, files.disk_errors(draft.path):
        request = CompressionRequest(model.path, draft.path, contract, probes, run)
        checks: Sequence[Check] = config.kind.build(request)
        carry_over(request)
        run.progress("parity", 0, len(probes.probes), "probes")
        limits = limits_for(config.kind.number_format, config.tolerance, config.min_agreement)
        predictor = Predictor.open(draft.path, "torch")
        table = compare(predictor, probes, limits)
        table.checks += checks
        run.progress("parity", table.num_probes, table.num_recorded, "probes")
        if not table.passed:
            refuse(table, model, run)
        _describe(draft, table, config, model)
    assert draft.artifact is not None
    size = sum(p.stat().st_size for p in draft.artifact.path.glob("model*.safetensors"))
    sentence = text(
        "compression.done",
        kind=config.kind.kind,
        megabytes=f"{size / 1e6:.1f}",
        done=table.num_probes,
        difference=f"{_difference(table):.1g}",
    )
    run.notice(sentence)
    return draft.artifact


def carry_over(request: CompressionRequest) -> None:
    """Copy all that stays: tokenizer, probes, history, card; the contract with the new size."""
    for path in request.source.iterdir():
        weights = path.name.startswith("model") and ".safetensors" in path.name
        if path.is_file() and not weights and path.name not in LEFT_BEHIND:
            shutil.copyfile(path, request.target / path.name)
    count = num_parameters(request.target)
    request.contract.model_copy(update={"num_parameters": count}).save(request.target)


def num_parameters(folder: Path) -> int:
    """Return how many numbers the weights of a folder have."""
    from safetensors import safe_open

    total = 0
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                total += math.prod(tensors.get_slice(name).get_shape())
    return total


def refuse(table: ParityTable, model: Artifact, run: Run) -> None:
    """Save the table as a report and raise.

    Raises:
        CheckError: ``COMPRESS-002``.
    """
    report = save_report(run, table, f"compression of {model.id}")
    reasons = describe(table.failed)
    raise CheckError("COMPRESS-002", reasons=reasons, report=report.path / PAGE_FILE)


def _difference(table: ParityTable) -> float:
    found = table.value("logit_difference")
    return float(table.value("log_prob_difference") if found is None else found)


def _describe(draft: Draft, table: ParityTable, config: CompressConfig, model: Artifact) -> None:
    """Write the table into the draft, and what its manifest says."""
    files.write_json(draft.path / PARITY_FILE, table.to_json())
    page = parity_page(table, f"{config.kind.kind} · {model.id}", language())
    (draft.path / PAGE_FILE).write_text(page, encoding="utf-8")
    kept = {name: value for name, value in model.metadata.items() if name != "adapter"}
    draft.metadata.update(kept)
    draft.metadata.update(
        {
            "num_parameters": Contract.open(draft.path).num_parameters,
            "compression": config.kind.kind,
            "model": model.id,
            "parity": summary(table),
        }
    )
