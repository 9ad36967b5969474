"""What remains of a run: the model artifact, complete enough to be asked, checked and served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.core import files
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import InputError
from llmwright.core.runs import Run
from llmwright.data.records import Row
from llmwright.inference.probes import record_probes
from llmwright.models.load import quiet
from llmwright.tasks.contract import Contract
from llmwright.training.card import model_card
from llmwright.training.config import TrainConfig
from llmwright.training.loop import Trainee
from llmwright.training.setup import Material, Problem
from llmwright.training.state import State

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TRAINING_FILE = "training.json"


def save_model_artifact(
    config: TrainConfig,
    problem: Problem,
    material: Material,
    trainee: Trainee,
    state: State,
    run: Run,
) -> Artifact:
    """Return the artifact of a trained model, with its contract and recorded probes.

    Raises:
        InputError: The probes' file cannot be used (``TRAIN-014``).
        ResourceError: The disk is full (``CORE-020``) or not writable (``CORE-021``).
    """
    history = training_record(config, problem, trainee, state)
    with run.draft("model") as draft, files.disk_errors(draft.path):
        save_weights(trainee.model, material.tokenizer, material.contract, draft.path)
        files.write_json(draft.path / TRAINING_FILE, history)
        card = model_card(material.contract, problem.dataset.info, history)
        (draft.path / "README.md").write_text(card, encoding="utf-8")
        rows, source = probe_rows(config, problem, material, run.root)
        run.progress("probes", 0, config.probes.count, "probes")
        contract = record_probes(draft.path, rows, material.contract, source, config.probes.count)
        draft.metadata.update(
            {
                "task": contract.task,
                "model_type": contract.model_type,
                "num_parameters": contract.num_parameters,
                "steps": state.step,
                # Not in the files: the same training shall make the same artifact.
                "seconds": round(state.seconds, 3),
                **{f"best_{name}": value for name, value in history["best"].items()},
            }
        )
    assert draft.artifact is not None
    return draft.artifact


def save_weights(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, contract: Contract, folder: Path
) -> None:
    """Write a Hugging Face folder with ``contract.json`` beside it."""
    generation = getattr(model, "generation_config", None)
    if generation is not None and len(contract.stop_token_ids) > 1:
        generation.eos_token_id = contract.stop_token_ids
    with quiet():
        model.save_pretrained(folder)
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
            "precision": trainee.runtime.precision,
            "device": str(trainee.runtime.device),
            "num_threads": trainee.runtime.num_threads,
            "total_steps": trainee.budget.max_steps,
        },
        "steps": state.step,
        "epochs": state.epoch,
        "tokens": state.tokens,
        "stopped_early": state.stopped_early,
        "best": state.best or {},
        "history": state.history,
        "evaluations": state.evaluations,
    }


def probe_rows(
    config: TrainConfig, problem: Problem, material: Material, root: Path
) -> tuple[list[Row], str]:
    """Return the rows that probes are taken from, and where they come from.

    Raises:
        InputError: The probes' file cannot be used (``TRAIN-014``).
    """
    wanted = config.probes.source
    if wanted == "auto":
        wanted = "validation" if "validation" in problem.dataset.splits else "train"
    if wanted == "file":
        assert config.probes.file is not None
        return read_probe_rows(root / config.probes.file, material.contract), wanted
    if wanted == "generated":
        return generated_rows(material, config.probes.count, config.seed), wanted
    return problem.dataset.rows(wanted), wanted


def read_probe_rows(path: Path, contract: Contract) -> list[Row]:
    """Return the rows of a JSONL file, the user's column names turned into ours.

    Raises:
        InputError: It cannot be read or holds no rows (``TRAIN-014``).
    """
    names = {theirs: ours for ours, theirs in contract.fields.items()}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        found = [{names.get(name, name): row[name] for name in row} for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise InputError("TRAIN-014", path=path, reason=str(error)) from error
    if not found:
        raise InputError("TRAIN-014", path=path, reason="0")
    return found


def generated_rows(material: Material, count: int, seed: int) -> list[Row]:
    """Return rows of random tokens: they say nothing about anybody, but exercise the model."""
    random = np.random.default_rng(seed)
    tokenizer, contract = material.tokenizer, material.contract
    special = set(tokenizer.all_special_ids)
    usable = [index for index in range(len(tokenizer)) if index not in special]
    rows: list[Row] = []
    for _ in range(count * 2):
        length = int(random.integers(3, min(24, contract.max_length)))
        text = tokenizer.decode(random.choice(usable, length).tolist()).strip() or "a"
        rows.append(_row_of(text, contract.row_type))
    return rows


def _row_of(text: str, row_type: str) -> Row:
    if row_type == "messages":
        return {"messages": [{"role": "user", "content": text}]}
    if row_type == "tags":
        return {"tokens": text.split() or [text]}
    return {"input" if row_type == "pair" else "text": text}
