"""The proof at start: the loaded model answers its recorded probes, or nothing is served."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmwright.core.errors import CheckError
from llmwright.data.records import Row
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import compare
from llmwright.inference.proof.probes import PROBES_FILE, Probes
from llmwright.serving.served.model import ServedModel

MAX_EXAMPLE_CHARACTERS = 300


def check(predictor: Predictor, count: int) -> dict[str, Any]:
    """Run the first probes of a model on the engine that will answer requests.

    Args:
        predictor: The loaded model.
        count: How many probes to run; 0 skips the check.

    Returns:
        What ``/v1/models`` says: ``status`` (``passed``, or ``skipped`` where there are no probes
        or none were asked for), ``count`` and ``details`` (check → what was found).

    Raises:
        CheckError: The model does not answer as recorded (``SERVE-003``).
    """
    probes = _probes(predictor)
    if not count or probes is None:
        return {"status": "skipped", "count": 0, "details": {}}
    table = compare(predictor, replace(probes, probes=probes.probes[:count]))
    if not table.passed:
        found = ", ".join(f"{c.name} {_short(c.value)} / {_short(c.limit)}" for c in table.failed)
        raise CheckError("SERVE-003", count=table.num_probes, detail=found)
    details = {check.name: check.value for check in table.checks}
    return {"status": "passed", "count": table.num_probes, "details": details}


def _probes(predictor: Predictor) -> Probes | None:
    """Return the recorded probes; a contract that promises them is held to it."""
    promised = predictor.contract.probes is not None
    if promised or (predictor.folder / PROBES_FILE).is_file():
        return Probes.open(predictor.folder)
    return None


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)[:60]


def examples(model: ServedModel, count: int = 4) -> list[dict[str, str]]:
    """Return a few inputs of the model's probes under the user's names, for the pages."""
    probes = _probes(model.predictor)
    if probes is None:
        return []
    return [_example(probe.row, model) for probe in probes.probes[:count]]


def _example(row: Row, model: ServedModel) -> dict[str, str]:
    contract, name = model.contract, model.fields.needed[0]
    if contract.task == "reward":
        asked, answer = (turn["content"][:MAX_EXAMPLE_CHARACTERS] for turn in row["messages"][-2:])
        return {name: asked, "answer": answer}
    if contract.row_type == "messages":
        return {name: row["messages"][-1]["content"][:MAX_EXAMPLE_CHARACTERS]}
    if contract.row_type == "tags":
        between = "" if contract.profile.get("words") == "characters" else " "
        return {"text": between.join(row["tokens"])[:MAX_EXAMPLE_CHARACTERS]}
    column = "input" if contract.row_type == "pair" else "text"
    example = {name: row[column][:MAX_EXAMPLE_CHARACTERS]}
    if row.get("text_pair"):
        example[model.fields.also[0]] = row["text_pair"][:MAX_EXAMPLE_CHARACTERS]
    return example
