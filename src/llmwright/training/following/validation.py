"""Loss and share of right predictions on the validation split, and answers to fixed prompts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from llmwright.inference.generation import write_all
from llmwright.inference.sampling import Settings
from llmwright.inference.torch_engine import TorchEngine
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Task
from llmwright.training.data.batching import Batches
from llmwright.training.loop import Trainee

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_SAMPLE_TOKENS = 64


class Validation:
    """Measures a model while it learns.

    Args:
        batches: The validation split.
        task: Says what picks the best weights.
        selection: ``loss`` or ``accuracy``; ``auto`` is the task's own.
    """

    def __init__(
        self,
        batches: Batches,
        task: Task,
        selection: Literal["auto", "loss", "accuracy"],
    ) -> None:
        self._batches = batches
        self.selection, self.mode = task.selection
        if selection != "auto":
            self.selection, self.mode = selection, "min" if selection == "loss" else "max"

    @torch.no_grad()
    def measure(self, trainee: Trainee) -> dict[str, float]:
        """Return mean loss per target and accuracy; the model goes on in train mode.

        The loss is the plain one, whatever weights and smoothing training uses.
        """
        objective, runtime = trainee.objective, trainee.runtime
        loss = torch.zeros((), device=runtime.device, dtype=torch.float64)
        right = torch.zeros((), device=runtime.device, dtype=torch.int64)
        judged = torch.zeros((), device=runtime.device, dtype=torch.int64)
        num_targets = 0
        trainee.model.eval()
        for indices_B in self._batches.epoch(0):
            arrays = objective.arrays(self._batches.collate(indices_B, 0))
            with runtime.autocast():
                score = objective.score(trainee.model, runtime.tensors(arrays))
            loss += score.loss
            right += score.num_right
            judged += score.num_judged
            num_targets += objective.num_targets(arrays)
        trainee.model.train()
        return {"loss": float(loss) / num_targets, "accuracy": int(right) / max(1, int(judged))}

    def rank(self, measured: dict[str, float]) -> tuple[float, float]:
        """Return what is larger the better the model is; with equal accuracy, the loss decides."""
        value = measured[self.selection] * (1 if self.mode == "max" else -1)
        found = (value, -measured["loss"])
        return (-math.inf, -math.inf) if math.isnan(sum(found)) else found


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
        with torch.random.fork_rng():
            engine = TorchEngine(trainee.model, Path(), self._contract)
            outputs = write_all(engine, [e.input_ids_T for e in inputs], [settings] * len(inputs))
        trainee.model.train()
        answers = [
            self._task.answer(output, row, self._tokenizer, self._contract)["text"]
            for output, row in zip(outputs, rows, strict=True)
        ]
        return list(zip(self._prompts, answers, strict=True))
