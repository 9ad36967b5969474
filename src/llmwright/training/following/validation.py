"""Loss and share of right predictions on the validation split, and answers to fixed prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from llmwright.data.records import Row
from llmwright.inference.engines.torch_engine import TorchEngine
from llmwright.inference.writing.generation import write_all
from llmwright.inference.writing.sampling import Settings
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Batch, Task
from llmwright.training.data.batching import BucketedRows
from llmwright.training.loop import Trainee, survey
from llmwright.training.objectives.objective import SURVEY, Tensors
from llmwright.training.runtimes.runtime import Share
from llmwright.training.safety.memory import in_fitting_parts
from llmwright.training.safety.randomness import unused_randomness

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_SAMPLE_TOKENS = 64


class Validation:
    """Measures a model while it learns.

    Args:
        batches: The validation split.
        rows: Its rows, which name their sources.
        task: Says what picks the best weights.
        selection: ``loss`` or ``accuracy``; ``auto`` is the task's own.

    Attributes:
        batches: The validation split.
        sources: Files the rows come from.
    """

    def __init__(
        self,
        batches: BucketedRows,
        rows: Sequence[Row],
        task: Task,
        selection: Literal["auto", "loss", "accuracy"],
    ) -> None:
        self.batches = batches
        self.sources, self._source_of = np.unique(
            [str(row.get("source", "")) for row in rows], return_inverse=True
        )
        self.selection, self.mode = selected_by(task, selection)
        self._micro_batch_tokens: int | None = None

    @torch.no_grad()
    def measure(self, trainee: Trainee) -> dict[str, float]:
        """Return mean loss per target and, where predictions are right or wrong, accuracy.

        The model goes on in train mode. The loss is the plain one, whatever weights and smoothing
        training uses. Where the rows come from several sources, the loss of each is
        ``loss/SOURCE``.
        """
        runtime = trainee.runtime
        # For each source: loss, targets, right predictions, predictions.
        sums_S4 = torch.zeros((len(self.sources), 4), dtype=torch.float64, device=runtime.device)
        trainee.model.eval()
        with runtime.whole(trainee.learner):
            known: Tensors = {}
            if trainee.objective.surveys:
                known = self._survey(trainee)
            self._in_parts(trainee, partial(self._add_batch, trainee, sums_S4, known))
        trainee.model.train()
        sums_S4 = runtime.summed(sums_S4)
        loss, num_targets, right, judged = sums_S4.sum(dim=0).tolist()
        measured = {"loss": loss / num_targets}
        if judged or self.selection == "accuracy":
            # Where nothing is there to be found, and nothing was called so, all is right.
            measured["accuracy"] = right / judged if judged else 1.0
        if len(self.sources) > 1:
            for name, (loss, num_targets, *_) in zip(self.sources, sums_S4.tolist(), strict=True):
                measured[f"loss/{name}"] = loss / max(1.0, num_targets)
        return measured

    def _survey(self, trainee: Trainee) -> Tensors:
        """Return what the objective must know of the whole split."""
        found: list[Tensor] = []

        def add(indices_B: np.ndarray) -> None:
            pair = self._collated(trainee, indices_B)
            found.append(survey(trainee, [pair])[SURVEY])

        self._in_parts(trainee, add)
        return {SURVEY: torch.stack(found).sum(dim=0)}

    def _collated(self, trainee: Trainee, indices_B: np.ndarray) -> tuple[Share, Batch]:
        share = trainee.runtime.share(indices_B)
        return share, trainee.objective.arrays(self.batches.collate(share.indices_B, 0))

    def _in_parts(self, trainee: Trainee, add: Callable[[np.ndarray], None]) -> None:
        """Do something with each batch of the split.

        Raises:
            ResourceError: Memory ran out and no smaller batch is possible (``TRAIN-130``), or
                other processes would wait (``TRAIN-131``).
        """
        for indices_B in self.batches.epoch(0):
            self._micro_batch_tokens = in_fitting_parts(
                self.batches, indices_B, self._micro_batch_tokens, add, trainee.runtime.repeats
            )

    def _add_batch(
        self, trainee: Trainee, sums_S4: Tensor, known: Tensors, indices_B: np.ndarray
    ) -> None:
        objective, runtime = trainee.objective, trainee.runtime
        share, arrays = self._collated(trainee, indices_B)
        with runtime.autocast():
            score = trainee.learner({**runtime.tensors(arrays), **known})
        if not share.counts:
            return
        source_B = self._source_of[self.batches.owners(share.indices_B)]
        source_N = torch.from_numpy(source_B[objective.rows_of(arrays)]).to(runtime.device)
        ones_N = torch.ones_like(score.losses_N)
        values = (score.losses_N, ones_N, score.right_N, score.judged_N)
        sums_S4.index_add_(0, source_N, torch.stack([v.double() for v in values], dim=1))

    def rank(self, measured: dict[str, float]) -> tuple[float, float]:
        """Return what is larger the better the model is; with equal accuracy, the loss decides."""
        value = measured[self.selection] * (1 if self.mode == "max" else -1)
        found = (value, -measured["loss"])
        return (-math.inf, -math.inf) if math.isnan(sum(found)) else found


def selected_by(
    task: Task, selection: Literal["auto", "loss", "accuracy"]
) -> tuple[str, Literal["min", "max"]]:
    """Return the figure that picks the best weights, and which values of it are better."""
    if selection == "auto":
        return task.selection
    return selection, "min" if selection == "loss" else "max"


class Samples:
    """Lets a model answer fixed prompts while it learns.

    Args:
        task: Reads prompts and answers.
        tokenizer: The model's.
        contract: The model's.
        prompts: What the model answers.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: PreTrainedTokenizerFast,
        contract: Contract,
        prompts: list[str],
    ) -> None:
        self._task, self._tokenizer, self._contract = task, tokenizer, contract
        self._prompts = prompts

    def write(self, trainee: Trainee) -> list[tuple[str, str]]:
        """Return each prompt with the greedy answer; random numbers are not used up."""
        name = self._contract.fields.get(self._task.text_field, self._task.text_field)
        rows = [self._task.read({name: prompt}, self._contract) for prompt in self._prompts]
        inputs = [self._task.encode_input(r, self._tokenizer, self._contract) for r in rows]
        settings = Settings(
            max_new_tokens=min(MAX_SAMPLE_TOKENS, self._contract.generation.max_new_tokens),
            stop_token_ids=frozenset(self._contract.stop_token_ids),
            seed=0,
        )
        with unused_randomness(), trainee.runtime.whole(trainee.learner):
            engine = TorchEngine(trainee.model, Path(), self._contract)
            outputs = write_all(engine, [e.input_ids_T for e in inputs], [settings] * len(inputs))
        trainee.model.train()
        answers = [
            self._task.answer(output, row, self._tokenizer, self._contract)["text"]
            for output, row in zip(outputs, rows, strict=True)
        ]
        return list(zip(self._prompts, answers, strict=True))
