"""The rows of a bad step, each with its own loss: the row that is broken is usually the highest.

Shapes: B rows, N targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from llmwright.core.locale import text
from llmwright.data.records import Row
from llmwright.training.data.batching import describe_rows
from llmwright.training.loop import StepResult, Trainee
from llmwright.training.safety.memory import Attempt, micro_batches
from llmwright.training.safety.randomness import unused_randomness

MAX_SHOWN = 8


def describe_suspects(
    trainee: Trainee, result: StepResult, rows: Sequence[Row], max_tokens: int | None
) -> str:
    """Return the rows of a step with their losses, the highest first.

    As in ``train.csv:17 (loss 14.2), train.csv:3 (loss 0.7)``; without losses where one process
    alone cannot compute them.

    Args:
        trainee: Computes the losses, with its present weights.
        result: The step.
        rows: The training split.
        max_tokens: Most tokens of a micro-batch; None for whole batches.
    """
    attempt = Attempt()
    found = attempt(lambda: row_losses(trainee, result, max_tokens))
    if not found:
        plain = {r for part in result.group for r in trainee.batches.rows(part, result.epoch)}
        return describe_rows(rows, sorted(plain))
    worst = sorted(found, key=lambda pair: (math.isfinite(pair[1]), -pair[1]))[:MAX_SHOWN]
    shown = [
        text("training.row_loss", row=describe_rows(rows, owners, most=1), loss=f"{loss:.3g}")
        for owners, loss in worst
    ]
    return ", ".join(shown) + (" …" if len(found) > MAX_SHOWN else "")


@torch.no_grad()
def row_losses(
    trainee: Trainee, result: StepResult, max_tokens: int | None
) -> list[tuple[list[int], float]]:
    """Return, for each row of a step's batches, its rows of the split and its mean loss.

    Nothing is changed by it, random numbers neither. Empty where several processes share the model.
    """
    if trainee.runtime.world > 1:
        return []
    batches = trainee.batches
    parts = [p for i_B in result.group for p in micro_batches(batches, i_B, max_tokens)]
    trainee.model.eval()
    try:
        with unused_randomness():
            losses = [_part_losses(trainee, part, result.epoch) for part in parts]
    finally:
        trainee.model.train()
    return [row for part in losses for row in part]


def _part_losses(
    trainee: Trainee, indices_B: np.ndarray, epoch: int
) -> list[tuple[list[int], float]]:
    objective, runtime = trainee.objective, trainee.runtime
    arrays = objective.arrays(trainee.batches.collate(indices_B, epoch))
    with runtime.autocast():
        score = objective.score(trainee.model, runtime.tensors(arrays))
    losses_N = score.losses_N.double().cpu().numpy()
    rows_N = objective.rows_of(arrays)
    sums_B = np.bincount(rows_N, losses_N, len(indices_B))
    counts_B = np.bincount(rows_N, minlength=len(indices_B))
    return [
        (trainee.batches.rows(indices_B[b : b + 1], epoch), float(sums_B[b] / counts_B[b]))
        for b in np.flatnonzero(counts_B)
    ]
