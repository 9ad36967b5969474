"""Asking an engine for what it makes of a task's examples: logits, or vectors of texts.

Shapes: B rows, D size of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmwright.inference.engines.engine import Engine
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Example, Task, pad_inputs
from llmwright.tasks.text_embedding import embedding_of, pooled


def logits_of(
    examples: Sequence[Example],
    engine: Engine,
    task: Task,
    contract: Contract,
    adapter: str | None = None,
) -> list[np.ndarray]:
    """Return the logits of each example, of several places only those that are its answer.

    Of a model that makes vectors of texts, each text's vector.
    """
    if task.embeds:
        return list(vectors_of(examples, engine, contract, adapter))
    adapters = None if adapter is None else [adapter] * len(examples)
    found = engine.logits(task.collate(examples, contract), adapters)
    if found.ndim == 2:
        return list(found)
    return [found[i, task.answered(example, contract)] for i, example in enumerate(examples)]


def vectors_of(
    examples: Sequence[Example], engine: Engine, contract: Contract, adapter: str | None = None
) -> np.ndarray:
    """Return a vector for each example, (B, D).

    Raises:
        InputError: The engine gives none (``INFER-060``).
    """
    batch = pad_inputs(examples, contract)
    adapters = None if adapter is None else [adapter] * len(examples)
    return pooled(engine.hidden(batch, adapters), batch["attention_mask"], embedding_of(contract))
