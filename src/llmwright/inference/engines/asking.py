"""Asking an engine for the logits of a task's examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmwright.inference.engines.engine import Engine
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Example, Task


def logits_of(
    examples: Sequence[Example], engine: Engine, task: Task, contract: Contract
) -> list[np.ndarray]:
    """Return the logits of each example, of several places only those that are its answer."""
    found = engine.logits(task.collate(examples, contract))
    if found.ndim == 2:
        return list(found)
    return [found[i, task.answered(example, contract)] for i, example in enumerate(examples)]
