"""What objectives on judged answers share: log-probabilities of whole answers, and the reference.

Shapes: B rows, T tokens, N labelled tokens, S sequences: first the B first texts, then the B second
ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from llmwright.tasks.task import Batch
from llmwright.training.objectives.causal_lm import CausalLMObjective
from llmwright.training.objectives.objective import Tensors
from llmwright.training.safety.memory import in_fitting_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmwright.training.data.batching import Batches
    from llmwright.training.runtimes.runtime import Runtime

REFERENCE = "reference"


class JudgedObjective(CausalLMObjective):
    """Losses of rows that have two texts each."""

    smooths_labels: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def arrays(self, batch: Batch) -> Batch:
        """Return the texts of both kinds, the row of each labelled token, and the reference."""
        arrays = super().arrays(batch)
        if REFERENCE in batch:
            arrays[REFERENCE] = batch[REFERENCE]
        # Where every place is labelled, none is named.
        places_N = arrays.get("positions", np.arange(len(arrays["targets"])))
        return {**arrays, "sequences": places_N // arrays["input_ids"].shape[1]}

    def num_targets(self, arrays: Batch) -> int:
        """Return the number of rows."""
        return len(arrays["input_ids"]) // 2

    def rows_of(self, arrays: Batch) -> np.ndarray:
        """Return the rows themselves: each is one target."""
        return np.arange(self.num_targets(arrays))

    def log_probs(self, model: PreTrainedModel, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Return log_probs_S, the log-probability of each answer in nats, and its tokens."""
        losses_N = self.plain_losses(model, tensors)
        zeros_S = torch.zeros(len(tensors["input_ids"]), device=losses_N.device)
        sequences_N = tensors["sequences"]
        counts_S = zeros_S.index_add(0, sequences_N, torch.ones_like(losses_N))
        return zeros_S.index_add(0, sequences_N, -losses_N), counts_S.clamp(min=1)

    def expect(self, model: PreTrainedModel, batches: Batches) -> None:
        """Put a reference of zeros in place.

        Nothing is dropped out from here on: what is left of a gain would be noise.
        """
        if self.needs_reference:
            without_dropout(model)
            batches.attach(REFERENCE, np.zeros((batches.num_examples, 2), dtype=np.float32))

    @torch.no_grad()
    def prepare(
        self,
        model: PreTrainedModel,
        batches: Batches,
        runtime: Runtime,
        report: Callable[[int, int], None],
        max_tokens: int | None = None,
    ) -> None:
        """Note what the model says of all answers before it learns: the reference it is kept to.

        So no second model is held, and each answer is read once only, however many the epochs.
        """
        if not self.needs_reference:
            return
        reference_N2 = np.zeros((batches.num_examples, 2), dtype=np.float32)

        def note(indices_B: np.ndarray) -> None:
            share = runtime.share(indices_B)
            tensors = runtime.tensors(self.arrays(batches.collate(share.indices_B, 0)))
            with runtime.autocast():
                log_probs_S, _ = self.log_probs(model, tensors)
            if share.counts:
                reference_N2[share.indices_B] = log_probs_S.cpu().numpy().reshape(2, -1).T

        planned = batches.epoch(0)
        model.eval()
        for done, indices_B in enumerate(planned):
            report(done, len(planned))
            max_tokens = in_fitting_parts(batches, indices_B, max_tokens, note, runtime.repeats)
        model.train()
        report(len(planned), len(planned))
        # Each process knows its own rows; the others are 0 with it.
        batches.attach(REFERENCE, sum(runtime.collected(reference_N2), np.zeros_like(reference_N2)))


def without_dropout(model: nn.Module) -> None:
    """Switch off all dropout of a model, in train mode too."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name in ("attention_dropout", "dropout", "activation_dropout"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)


def gains(log_probs_S: Tensor, tensors: Tensors) -> tuple[Tensor, Tensor]:
    """Return by how much first and second texts, (B,) each, are likelier than before training."""
    first_B, second_B = log_probs_S.chunk(2)
    reference_B2 = tensors[REFERENCE]
    return first_B - reference_B2[:, 0], second_B - reference_B2[:, 1]
