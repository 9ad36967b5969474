"""Objectives on tokens: only the learned ones meet the output layer, and never all at once.

Shapes: B rows, T tokens, N targets, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NV at the labelled positions only."""
        return torch.cat(list(self._parts(model, tensors, lambda logits_NV, _: logits_NV)))

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return losses_N, smoothed as training wants them."""
        return torch.cat(list(self._parts(model, tensors, self._smoothed)))

    def plain_losses(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return losses_N: negative log-probabilities in nats."""
        return torch.cat(list(self._parts(model, tensors, cross_entropies)))

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return plain losses, and which tokens are the likeliest ones."""
        parts = [
            self._judged(*part)
            for part in self._parts(
                model, tensors, lambda logits_NV, targets_N: (
                    cross_entropies(logits_NV, targets_N), logits_NV.argmax(dim=-1), targets_N
                )
            )
        ]  # fmt: skip
        return Score(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _smoothed(self, logits_NV: Tensor, targets_N: Tensor) -> Tensor:
        return cross_entropies(logits_NV, targets_N, None, self.smoothing)

    def _parts(
        self, model: PreTrainedModel, tensors: Tensors, make: Callable[[Tensor, Tensor], Any]
    ) -> Iterator[Any]:
        """Yield what ``make(logits_NV, targets_N)`` returns, for as many targets as fit at once."""
        inputs = {name: tensors[name] for name in INPUTS if name in tensors}
        targets_N, head = tensors["targets"], self.head
        if head is None:
            logits = model(**inputs, **self._options).logits.flatten(0, 1)
            yield make(_select(logits, tensors), targets_N)
            return
        hidden = model.base_model(**inputs, **self._options)[0].flatten(0, 1)
        hidden_ND = _select(hidden, tensors)
        vocabulary = int(model.get_input_embeddings().weight.shape[0])
        if len(targets_N) * vocabulary <= LARGEST_LOGITS:
            yield make(head(hidden_ND), targets_N)
            return
        size = max(1, PART_LOGITS // vocabulary)

        def part(hidden_ND: Tensor, targets_N: Tensor) -> Any:
            return make(head(hidden_ND), targets_N)

        for few_ND, few_N in zip(hidden_ND.split(size), targets_N.split(size), strict=True):
            yield checkpoint(part, few_ND, few_N, use_reentrant=False)


def _select(values: Tensor, tensors: Tensors) -> Tensor:
    positions_N = tensors.get("positions")
    return values if positions_N is None else values.index_select(0, positions_N)
