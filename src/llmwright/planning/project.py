"""The training steps of a project, planned in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmwright.core import pipeline
from llmwright.core.config import Config, parse
from llmwright.core.errors import ConfigError, LLMwrightError
from llmwright.core.events import Emit
from llmwright.core.operation import Table
from llmwright.core.pipeline import Done
from llmwright.core.project import Project, Section
from llmwright.planning.plan import plan
from llmwright.training.config import TrainConfig

VERB = "train"
# What must be there before anything can be said about training.
NEEDED = ("dataset", "tokenizer")


def plans_of(
    project: Project, table: Table, only: set[str], measure: bool, consumers: Sequence[Emit]
) -> dict[str, dict[str, Any]]:
    """Return the plan of each training step, by its name.

    A step that goes on with the model of one that was never run has ``error`` instead.

    Args:
        project: Steps that make its dataset and tokenizer are run where they are not done.
        table: The operations.
        only: Names of the steps to plan; all when empty.
        measure: As for `plan`.
        consumers: Receive the events.

    Raises:
        ConfigError: ``only`` names no training step (``CORE-059``).
        LLMwrightError: What a step would find wrong before its work.
    """
    sections = pipeline.configs(project, table)
    if all(section.verb != VERB for section, _ in sections):
        section = Section(VERB, VERB, {}, VERB)
        sections.append((section, parse(TrainConfig, {}, VERB)))
    trained = [section.step for section, _ in sections if section.verb == VERB]
    unknown = only - set(trained)
    if unknown:
        raise ConfigError("CORE-059", step=", ".join(sorted(unknown)), steps=", ".join(trained))
    steps = {section.step for section, _ in sections}
    done: list[Done] = []
    found: dict[str, dict[str, Any]] = {}
    for section, config in sections:
        operation = table[section.verb]
        if section.verb == VERB and (not only or section.step in only):
            found[section.step] = _one(project, config, done, steps, measure, consumers)
        elif operation.makes in NEEDED:
            before = pipeline.execute(
                project, operation, config, section.step, consumers, False, done
            )
            done.append(before)
    return found


def _one(
    project: Project,
    config: Config,
    done: Sequence[Done],
    steps: set[str],
    measure: bool,
    consumers: Sequence[Emit],
) -> dict[str, Any]:
    """Return a step's plan, or why there is none yet: it needs the model of one of ``steps``."""
    assert isinstance(config, TrainConfig)
    try:
        inputs = pipeline.resolve_inputs(project, config, done)
    except LLMwrightError as error:
        # The models it goes on with, or learns from, are made by steps that have not been run.
        unmade = error.code == "CORE-031" and error.values["identity"] in steps
        unknown = error.code == "CORE-062" and str(error.values["field"]).endswith(".name")
        if not unmade and not unknown:
            raise
        if unmade:
            error = ConfigError("TRAIN-210", needed=error.values["identity"])
        return {"error": {"code": error.code, "message": error.message, "fix": error.fix}}
    return plan(config, inputs, project, measure, tuple(consumers)).to_json()
