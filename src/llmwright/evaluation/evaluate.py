"""The operation `evaluate`: a model and a dataset in, a report out, and a gate at the end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.core import files, locale
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError, ConfigError, InputError
from llmwright.core.events import Metric as MetricEvent
from llmwright.data.records import Dataset, Row
from llmwright.evaluation import measure
from llmwright.evaluation.asking import Asking
from llmwright.evaluation.collect import Collected, check_labels, collect, preview
from llmwright.evaluation.config import EvaluateConfig
from llmwright.evaluation.page.document import build_page
from llmwright.evaluation.report import Note, Report, ScoredRow
from llmwright.evaluation.seen import count_seen
from llmwright.inference.page.markup import number
from llmwright.tasks.task import TASKS

if TYPE_CHECKING:
    from llmwright.core.runs import Run
    from llmwright.tasks.contract import Contract


def evaluate(config: EvaluateConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    """Measure a model on held-out rows and save the report.

    Args:
        config: What to measure and how.
        inputs: ``model`` (a model or an export) and ``dataset``.
        run: Where events go and the report is saved.

    Returns:
        The report: ``report.json``, ``predictions.jsonl`` and ``report.html``.

    Raises:
        InputError: Model and dataset do not fit (``EVAL-003``, ``EVAL-008``), a metric does not
            apply (``EVAL-005``), or no row could be scored (``EVAL-007``).
        CheckError: The gate is missed (``EVAL-002``); the report is saved before.
    """
    # Loading an engine is slow and not every command that imports this module needs one.
    from llmwright.inference.proof.sound import open_sound

    dataset = Dataset.open(inputs["dataset"].path)
    predictor = open_sound(inputs["model"].path)
    run.notice(predictor.choice)
    contract = predictor.contract
    task = TASKS.get(contract.task)()
    if not task.measured_on(dataset.info):
        raise InputError("EVAL-008", model_task=contract.task, dataset_task=dataset.info.task)
    positive = _positive(config, contract)
    chosen = measure.choose(config, task.metrics_on(dataset.info.row_type))
    split, rows, num_rows, notes = select_rows(dataset, config)
    check_labels(task, contract, rows, split)
    # An impossible metric is refused before the model works, not after.
    measure.applicable(chosen, preview(task, contract, rows, chosen))
    for note in notes:
        run.notice(note.text())
    num_seen = count_seen(rows, inputs["dataset"], inputs["model"], run.store)
    if num_seen and split != "train":
        notes.append(Note("evaluation.seen", {"num_seen": num_seen, "num_rows": len(rows)}))
        run.notice(notes[-1].text(), "warning")
    asking = Asking(
        predictor,
        config.batch_size,
        lambda stage, done, total: run.progress(stage, done, total, "rows"),
    )
    collected = collect(asking, task, rows, chosen, positive)
    report = make_report(
        config,
        chosen,
        collected,
        run,
        model={**_model_facts(contract), "id": inputs["model"].id},
        dataset={"id": inputs["dataset"].id, "task": dataset.info.task},
        split=split,
        num_rows=num_rows,
        notes=notes,
    )
    artifact = save(report, collected.rows, run)
    _tell_gate(report, artifact, run)
    return artifact


def _tell_gate(report: Report, artifact: Artifact, run: Run) -> None:
    """Say that the gate holds, if there is one.

    Raises:
        CheckError: It does not (``EVAL-002``).
    """
    kept = [v for v in report.verdicts if v.passed == report.passed]
    shown = "; ".join(f"{v.condition} ({number(v.value)})" for v in kept)
    if not report.passed:
        page, metrics = artifact.path / "report.html", artifact.metadata["metrics"]
        raise CheckError("EVAL-002", failures=shown, report=page, metrics=metrics)
    if kept:
        run.notice(locale.text("evaluation.gate_holds", conditions=shown))


def select_rows(dataset: Dataset, config: EvaluateConfig) -> tuple[str, list[Row], int, list[Note]]:
    """Return the split, the rows to measure, the rows it has, and what to say about the choice.

    Raises:
        ConfigError: The dataset has no such split (``DATA-002``).
        InputError: It has none to measure (``EVAL-006``).
    """
    held_out = [name for name in ("test", "validation") if name in dataset.splits]
    if config.split is None and not held_out:
        raise InputError("EVAL-006", path=dataset.path)
    split = config.split or held_out[0]
    frame = dataset.frame(split)
    num_rows = frame.height
    notes = [Note("evaluation.split", {"split": split, "num_rows": num_rows})]
    if config.split is None and split == "validation":
        notes.append(Note("evaluation.split_chosen"))
    if split == "train":
        notes.append(Note("evaluation.split_train"))
    if config.max_rows is not None and config.max_rows < num_rows:
        generator = np.random.default_rng(config.seed)
        kept = np.sort(generator.choice(num_rows, size=config.max_rows, replace=False))
        # On the table: only the rows that are kept become Python objects.
        frame = frame[kept]
        values = {"num_rows": num_rows, "kept": frame.height, "seed": config.seed}
        notes.append(Note("evaluation.sampled", values))
    return split, frame.to_dicts(), num_rows, notes


def make_report(
    config: EvaluateConfig,
    chosen: measure.Chosen,
    collected: Collected,
    run: Run,
    *,
    notes: Sequence[Note],
    **facts: Any,
) -> Report:
    """Return the report on collected answers; emits each figure.

    Raises:
        InputError: A metric that was asked for does not apply (``EVAL-005``).
    """
    outcomes = collected.outcomes
    metrics, left_out = measure.applicable(chosen, outcomes)
    figures, remarks = measure.figures(
        metrics,
        outcomes,
        config,
        lambda done: run.progress("bootstrap", done, config.num_bootstrap, "resamples"),
    )
    for figure in figures:
        if figure.value is not None:
            run.emit(MetricEvent(figure.name, figure.value, split=facts["split"]))
    found = [*collected.notes, *left_out, *remarks, *measure.label_notes(outcomes)]
    for note in found:
        run.notice(note.text(), "warning")
    return Report(
        num_scored=len(outcomes),
        settings=config.model_dump(mode="json"),
        figures=figures,
        verdicts=measure.verdicts(config, figures),
        notes=[*notes, *found],
        unscored=collected.unscored,
        **measure.breakdowns(outcomes, collected.rows, config),
        **facts,
    )


def save(report: Report, rows: Sequence[ScoredRow], run: Run) -> Artifact:
    """Write the report's three files and return the artifact."""
    with run.draft("report") as draft:
        files.write_json(draft.path / "report.json", report.to_json())
        _write_rows(draft.path / "predictions.jsonl", rows)
        page = build_page(report, rows, locale.language())
        (draft.path / "report.html").write_text(page, encoding="utf-8")
        draft.metadata.update(
            operation="evaluate",
            split=report.split,
            passed=report.passed,
            model=report.model["id"],
            dataset=report.dataset["id"],
            metrics={figure.name: figure.value for figure in report.figures},
            intervals={figure.name: [figure.low, figure.high] for figure in report.figures},
        )
    assert draft.artifact is not None
    return draft.artifact


def _write_rows(path: Path, rows: Sequence[ScoredRow]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n")


def _model_facts(contract: Contract) -> dict[str, Any]:
    return {
        "task": contract.task,
        "model_type": contract.model_type,
        "num_parameters": contract.num_parameters,
    }


def _positive(config: EvaluateConfig, contract: Contract) -> str:
    """Return the label that counts as positive, or nothing where there are not two.

    Raises:
        ConfigError: The config names one that is not a label (``EVAL-009``).
    """
    label = config.positive_label
    if label is None:
        return ""
    if label not in contract.labels or len(contract.labels) != 2:
        raise ConfigError("EVAL-009", label=label, known=measure.named(contract.labels))
    return label
