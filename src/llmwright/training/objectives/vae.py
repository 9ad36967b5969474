"""The negative evidence lower bound of a text autoencoder, with KL annealing and free bits.

Source: Kingma and Welling 2014 (arXiv:1312.6114); annealing: Bowman et al. 2016
(arXiv:1511.06349), section 3.1; free bits: Kingma et al. 2016 (arXiv:1606.04934), appendix C.8.

Shapes: B rows, T tokens, N targets, L latent, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from llmwright.core.errors import ConfigError
from llmwright.models.vae.modeling import kl_divergence
from llmwright.tasks.task import IGNORE, Batch
from llmwright.training.objectives.config import VaeLoss
from llmwright.training.objectives.cross_entropy import cross_entropies
from llmwright.training.objectives.objective import (
    Objective,
    ObjectiveRequest,
    Score,
    Tensors,
    inputs_of,
    is_autoencoder,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask")


class VaeObjective(Objective):
    """Reconstruction plus weighted KL divergence; whole texts, never packed.

    Raises:
        ConfigError: The model is no autoencoder (``TRAIN-006``).
    """

    kind: VaeLoss
    smooths_labels: ClassVar[bool] = False

    def __init__(self, kind: VaeLoss, request: ObjectiveRequest) -> None:
        super().__init__(kind, request)
        if not is_autoencoder(request.model):
            raise ConfigError("TRAIN-006", model=type(request.model).__name__)

    def arrays(self, batch: Batch) -> Batch:
        """Return whole texts, and as targets every token but the first."""
        labels_BT = batch["labels"].copy()
        # Position t predicts t + 1: the targets move one place to the left, as in `logits`.
        labels_BT[:, :-1] = labels_BT[:, 1:]
        labels_BT[:, -1] = IGNORE
        labels = labels_BT.reshape(-1)
        positions_N = np.flatnonzero(labels != IGNORE)
        return {**inputs_of(batch), "targets": labels[positions_N], "positions": positions_N}

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NV of the reconstruction."""
        return self._forward(model, tensors)[0]

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return the negative evidence lower bound, its KL weighted as ``done`` says.

        The KL divergence of the batch is spread evenly over its tokens.
        """
        logits_NV, output = self._forward(model, tensors)
        return self._bound(logits_NV, output, tensors, done)

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return the bound at full KL weight, and which tokens the decoder got right."""
        logits_NV, output = self._forward(model, tensors)
        bound_N = self._bound(logits_NV, output, tensors, 1.0)
        return self._judged(bound_N, logits_NV.argmax(dim=-1), tensors["targets"])

    def kl_weight(self, done: float) -> float:
        """Return the weight of the KL divergence at a share of the run."""
        anneal = self.kind.kl_anneal_fraction
        return self.kind.kl_weight * (min(1.0, done / anneal) if anneal else 1.0)

    def _forward(self, model: PreTrainedModel, tensors: Tensors) -> tuple[Tensor, Any]:
        output = model(**{name: tensors[name] for name in INPUTS if name in tensors})
        return output.logits.flatten(0, 1).index_select(0, tensors["positions"]), output

    def _bound(self, logits_NV: Tensor, output: Any, tensors: Tensors, done: float) -> Tensor:
        losses_N = cross_entropies(logits_NV, tensors["targets"])
        kl_BL = kl_divergence(output.mu.float(), output.logvar.float())
        # The floor holds for each dimension's mean over the batch, not for each text.
        kl = kl_BL.mean(dim=0).clamp(min=self.kind.free_bits).sum() * len(kl_BL)
        return losses_N + self.kl_weight(done) * kl / len(losses_N)
