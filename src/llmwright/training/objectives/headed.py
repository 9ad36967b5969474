"""Objectives on tokens: only the learned ones meet the output layer, and never all at once.

Shapes: B rows, T tokens, N targets, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from llmwright.core.locale import text
from llmwright.tasks.padding import padded_width
from llmwright.tasks.task import IGNORE
from llmwright.training.objectives.config import ObjectiveKind
from llmwright.training.objectives.cross_entropy import cross_entropies
from llmwright.training.objectives.objective import Objective, ObjectiveRequest, Score, Tensors
from llmwright.training.objectives.trials import call_options, find_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask", "position_ids")
# More logits than this (256 MB in bf16) are made a part at a time, and once more in the backward
# pass: a tenth more time for a vocabulary of 150,000, and gigabytes less.
LARGEST_LOGITS = 1 << 27
PART_LOGITS = 1 << 26


class HeadedObjective(Objective):
    """Cross entropy of labelled tokens.

    Attributes:
        head: Makes logits of the body's last vectors; None where a model does more than that.
    """

    def __init__(self, kind: ObjectiveKind, request: ObjectiveRequest) -> None:
        super().__init__(kind, request)
        self.head: nn.Module | None = find_head(request.model)
        self._options = call_options(request.model)

    def economies(self) -> list[str]:
        """Say for which tokens logits are made, and how many at once."""
        return [text("training.logits_all" if self.head is None else "training.logits_learned")]

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NV at the labelled positions only."""
        return self._joined(model, tensors, lambda logits_NV, _: logits_NV)

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return losses_N, smoothed as training wants them."""
        return self._joined(model, tensors, self._smoothed)

    def plain_losses(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return losses_N: negative log-probabilities in nats."""
        return self._joined(model, tensors, cross_entropies)

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return plain losses, and which tokens are the likeliest ones."""
        answers = []

        def judge(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
            answers.append(logits_NV.argmax(dim=-1))
            return cross_entropies(logits_NV, targets_N)

        losses_N = self._joined(model, tensors, judge)
        answers_N = torch.cat(answers)[: len(losses_N)]
        return self._judged(losses_N, answers_N, tensors["targets"])

    def _smoothed(self, logits_NV: Tensor, targets_N: Tensor) -> Tensor:
        return cross_entropies(logits_NV, targets_N, None, self.smoothing)

    def _joined(
        self, model: PreTrainedModel, tensors: Tensors, make: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Return what ``make(logits_NV, targets_N)`` returns, for as many targets at once as fit.

        Some more than are there, which are cut off again: a processor prepares its matrix products
        for each new size.
        """
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        positions_N, targets_N = tensors.get("positions"), tensors["targets"]
        count = len(targets_N)
        if positions_N is not None:
            more = (0, padded_width(count, None) - count)
            positions_N = functional.pad(positions_N, more)
            targets_N = functional.pad(targets_N, more, value=IGNORE)
        if self.head is None:
            logits = model(**inputs, **self._options).logits.flatten(0, 1)
            return make(_select(logits, positions_N), targets_N)[:count]
        hidden = model.base_model(**inputs, **self._options)[0].flatten(0, 1)
        hidden_ND = _select(hidden, positions_N)
        return torch.cat(list(self._parts(model, hidden_ND, targets_N, make)))[:count]

    def _parts(
        self,
        model: PreTrainedModel,
        hidden_ND: Tensor,
        targets_N: Tensor,
        make: Callable[[Tensor, Tensor], Tensor],
    ) -> Iterator[Tensor]:
        head = self.head
        assert head is not None
        vocabulary = int(model.get_input_embeddings().weight.shape[0])
        if len(targets_N) * vocabulary <= LARGEST_LOGITS:
            yield make(head(hidden_ND), targets_N)
            return
        size = max(1, PART_LOGITS // vocabulary)

        def part(hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
            return make(head(hidden_ND), targets_N)

        for few_ND, few_N in zip(hidden_ND.split(size), targets_N.split(size), strict=True):
            yield checkpoint(part, few_ND, few_N, use_reentrant=False)


def _select(values: Tensor, positions_N: Tensor | None) -> Tensor:
    return values if positions_N is None else values.index_select(0, positions_N)
