"""What remains of a run: the model artifact, complete enough to be asked, checked and served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.core import files
from llmwright.core.artifacts import Artifact
from llmwright.core.runs import Run
from llmwright.inference.proof.probes import record_probes
from llmwright.models.adapters.attached import attached_to
from llmwright.models.adapters.put import save_adapter
from llmwright.models.load import quiet
from llmwright.tasks.contract import Contract
from llmwright.training.config import TrainConfig
from llmwright.training.following.card import model_card
from llmwright.training.footprint.meter import Meter
from llmwright.training.loop import Trainee
from llmwright.training.setup import Material, Problem
from llmwright.training.state import TRAINING_FILE, State

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def save_model_artifact(
    config: TrainConfig,
    problem: Problem,
    material: Material,
    trainee: Trainee,
    state: State,
    meter: Meter,
    run: Run,
) -> Artifact | None:
    """Return the artifact of a trained model, with its contract and recorded probes.

    Of several processes the first one makes it; the others get None.

    Raises:
        ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
    """
    trainee.runtime.finish(trainee.model)
    if trainee.runtime.rank:
        return None
    history = training_record(config, problem, trainee, state)
    with run.draft("model") as draft, files.disk_errors(draft.path):
        save_weights(trainee.model, material.tokenizer, material.contract, draft.path)
        files.write_json(draft.path / TRAINING_FILE, history)
        card = model_card(material.contract, problem.dataset.info, history)
        (draft.path / "README.md").write_text(card, encoding="utf-8")
        rows, source = material.probes.rows, material.probes.source
        run.progress("probes", 0, len(rows), "probes")
        contract = record_probes(draft.path, rows, material.contract, source, config.probes.count)
        draft.metadata.update(
            {
                "task": contract.task,
                "model_type": contract.model_type,
                "num_parameters": contract.num_parameters,
                "steps": state.step,
                # Not in the files: the same training shall make the same artifact.
                "seconds": round(state.seconds, 3),
                "measured": meter.reading(state),
                **{f"best_{name}": value for name, value in history["best"].items()},
            }
        )
    assert draft.artifact is not None
    return draft.artifact


def save_weights(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, contract: Contract, folder: Path
) -> None:
    """Write a Hugging Face folder with ``contract.json`` beside it; of an adapter, it alone."""
    generation = getattr(model, "generation_config", None)
    if generation is not None and len(contract.stop_token_ids) > 1:
        generation.eos_token_id = contract.stop_token_ids
    with quiet():
        if attached_to(model) is None:
            model.save_pretrained(folder)
        else:
            save_adapter(model, folder)
        tokenizer.save_pretrained(folder)
    contract.save(folder)


def training_record(
    config: TrainConfig, problem: Problem, trainee: Trainee, state: State
) -> dict[str, Any]:
    """Return what ``training.json`` holds: settings as resolved, history and evaluations."""
    return {
        "config": config.model_dump(mode="json"),
        "resolved": {
            "model": problem.spec.model_dump(mode="json"),
            "objective": problem.objective.model_dump(mode="json"),
            "lr": trainee.lr,
            **trainee.batches.limits,
            "micro_batch_tokens": state.micro_batch_tokens,
            "precision": trainee.runtime.precision,
            "device": str(trainee.runtime.device),
            "num_threads": trainee.runtime.num_threads,
            "total_steps": trainee.budget.max_steps,
        },
        "steps": state.step,
        "epochs": state.epoch,
        "tokens": state.tokens,
        "skipped_steps": state.num_skipped,
        "stopped_early": state.stopped_early,
        "best": state.best or {},
        "history": state.history,
        "evaluations": state.evaluations,
    }
