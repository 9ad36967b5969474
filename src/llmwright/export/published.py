"""Contract and probes of a model that others published: made now, from the model itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmwright.core.locale import text
from llmwright.core.runs import Run
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.generated import generated_rows
from llmwright.inference.proof.probes import Probes, probe_rows, recorded
from llmwright.tasks.contract import CONTRACT_FILE, Contract, ProbesInfo

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NUM_PROBES = 32
SEED = 0


@dataclass(frozen=True)
class Proof:
    """What an export is compared with, and what must travel with it.

    Attributes:
        probes: Inputs with the model's own outputs.
        contract: Of a model that has none in its folder.
        tokenizer: Likewise.
    """

    probes: Probes
    contract: Contract | None = None
    tokenizer: PreTrainedTokenizerFast | None = None

    def save(self, folder: Path) -> None:
        """Write what the model's own folder did not have."""
        if self.contract is None or self.tokenizer is None:
            return
        self.contract.save(folder)
        self.probes.save(folder)
        if not (folder / "tokenizer.json").is_file():
            self.tokenizer.save_pretrained(folder)


def proof_of(source: Path, run: Run) -> Proof:
    """Return the probes of a model; one that others published is asked now, by torch.

    Raises:
        InputError: No probes (``INFER-010``), or the model cannot be loaded.
    """
    if (source / CONTRACT_FILE).is_file():
        return Proof(Probes.open(source))
    predictor = Predictor.open(source, "torch")
    for note in predictor.notes:
        run.notice(note, "warning")
    contract, tokenizer = predictor.contract, predictor.tokenizer
    rows = probe_rows(
        generated_rows(tokenizer, contract, 2 * NUM_PROBES, SEED), contract, NUM_PROBES
    )
    probes = recorded(rows, tokenizer, contract, predictor.engine, "generated")
    predictor.close()
    info = ProbesInfo(source="generated", count=len(probes.probes))
    run.notice(text("export.recorded", count=info.count))
    return Proof(probes, contract.model_copy(update={"probes": info}), tokenizer)
