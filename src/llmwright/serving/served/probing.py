"""The proof: a loaded model answers its recorded probes, or is not served.

A few are run before the first request, the others in idle moments.
"""

from __future__ import annotations

import logging
from typing import Any

from llmwright.core.errors import CheckError
from llmwright.data.records import Row
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import Comparison, ParityTable
from llmwright.inference.proof.probes import PROBES_FILE, Probe, Probes
from llmwright.serving.served.model import ServedModel

LOGGER = logging.getLogger("llmwright.serving")
MAX_EXAMPLE_CHARACTERS = 300


class Proof:
    """How a model answers its recorded probes, more and more of them.

    Args:
        predictor: The loaded model; None before there is one.

    Attributes:
        report: What ``/v1/models`` says: ``status`` (``passed``, ``failed``, or ``skipped`` where
            there are no probes or none were asked for), ``count`` of ``recorded`` ones that were
            run, and ``details`` (check → what was found).
    """

    def __init__(self, predictor: Predictor | None) -> None:
        self._probes: list[Probe] = []
        self._comparison: Comparison | None = None
        found = _probes(predictor) if predictor is not None else None
        if predictor is not None and found is not None:
            self._probes = list(found.probes)
            self._comparison = Comparison(predictor, found)
        self.report: dict[str, Any] = {
            "status": "skipped", "count": 0, "recorded": len(self._probes), "details": {},
        }  # fmt: skip

    def begin(self, count: int) -> None:
        """Run the first probes on the engine that will answer requests.

        Args:
            count: How many; 0 skips the check.

        Raises:
            CheckError: The model does not answer as recorded (``SERVE-003``).
        """
        if not count or self._comparison is None:
            return
        table = self._run(count)
        if not table.passed:
            raise CheckError("SERVE-003", count=table.num_probes, detail=_failed(table))

    def go_on(self) -> bool:
        """Run one more probe; say whether any is left. A difference is logged and shown."""
        count = self.report["count"]
        if self._comparison is None or count >= len(self._probes):
            return False
        before = self.report["status"]
        table = self._run(1)
        if before == "passed" and not table.passed:
            LOGGER.warning(
                "After %d recorded probes the model differs: %s", table.num_probes, _failed(table)
            )
        return table.num_probes < len(self._probes)

    def end(self) -> None:
        """Let go of the model; what was found stays."""
        self._comparison = None

    def _run(self, count: int) -> ParityTable:
        # Whoever gives a hung engine up ends this proof from another thread.
        comparison = self._comparison
        assert comparison is not None
        done = self.report["count"]
        comparison.run(self._probes[done : done + count])
        table = comparison.table()
        self.report = {
            "status": "passed" if table.passed else "failed",
            "count": table.num_probes,
            "recorded": len(self._probes),
            "details": {check.name: check.value for check in table.checks},
        }
        return table


def _failed(table: ParityTable) -> str:
    return ", ".join(f"{c.name} {_short(c.value)} / {_short(c.limit)}" for c in table.failed)


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
