"""Learn to prefer the chosen answer of a pair to the rejected one.

Shapes: B pairs, S sequences: B chosen answers, then B rejected ones.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from llmwright.training.objectives.judged import JudgedObjective, gains
from llmwright.training.objectives.judged_config import DpoLoss, IpoLoss, OrpoLoss, SimpoLoss
from llmwright.training.objectives.objective import Score, Tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PairObjective(JudgedObjective):
    """A loss of each pair; a pair is right where the chosen answer is ahead."""

    @abstractmethod
    def pair_losses(
        self, log_probs_S: Tensor, counts_S: Tensor, tensors: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Return losses_B, and margins_B: by how much the chosen answer is ahead.

        Args:
            log_probs_S: Log-probabilities of whole answers, in nats.
            counts_S: Tokens of each.
            tensors: `arrays` on the device; where it needs one, with the reference.
        """

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return losses_B."""
        return self.pair_losses(*self.log_probs(model, tensors), tensors)[0]

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return losses_B, and for which pairs the chosen answer is ahead."""
        losses_B, margins_B = self.pair_losses(*self.log_probs(model, tensors), tensors)
        right_B = margins_B > 0
        return Score(losses_B, right_B, torch.ones_like(right_B))


class DpoObjective(PairObjective):
    """Direct preference optimisation.

    Source: Rafailov et al. 2023 (arXiv:2305.18290), equation 7; smoothing: Mitchell 2023 (cDPO);
    the chosen answer's own loss: Pang et al. 2024 (arXiv:2404.19733), equation 1.
    """

    kind: DpoLoss

    def pair_losses(
        self, log_probs_S: Tensor, counts_S: Tensor, tensors: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Return losses_B and the margins of the implicit rewards."""
        chosen_B, rejected_B = gains(log_probs_S, tensors)
        margins_B = self.kind.beta * (chosen_B - rejected_B)
        wrong = self.kind.smoothing
        losses_B = -(1 - wrong) * logsigmoid(margins_B) - wrong * logsigmoid(-margins_B)
        if self.kind.sft_weight:
            mean_S = log_probs_S / counts_S
            losses_B = losses_B - self.kind.sft_weight * mean_S.chunk(2)[0]
        return losses_B, margins_B


class IpoObjective(PairObjective):
    """Identity preference optimisation.

    Source: Azar et al. 2023 (arXiv:2310.12036), equation 17, on means over tokens.
    """

    kind: IpoLoss

    def pair_losses(
        self, log_probs_S: Tensor, counts_S: Tensor, tensors: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Return losses_B and the margins of mean log-ratios."""
        chosen_B, rejected_B = gains(log_probs_S, tensors)
        counts_B, rejected_counts_B = counts_S.chunk(2)
        margins_B = chosen_B / counts_B - rejected_B / rejected_counts_B
        return (margins_B - 1 / (2 * self.kind.beta)).square(), margins_B


class OrpoObjective(PairObjective):
    """Odds ratio preference optimisation.

    Source: Hong et al. 2024 (arXiv:2403.07691), equations 6 and 7.
    """

    kind: OrpoLoss
    needs_reference: ClassVar[bool] = False

    def pair_losses(
        self, log_probs_S: Tensor, counts_S: Tensor, tensors: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Return losses_B and the log odds ratios."""
        mean_S = log_probs_S / counts_S
        # log odds = log p - log (1 - p); a p of 1 in float32 must not make it infinite.
        odds_S = mean_S - torch.log1p(-mean_S.exp().clamp(max=1 - 1e-6))
        chosen_B, rejected_B = odds_S.chunk(2)
        margins_B = chosen_B - rejected_B
        return -mean_S.chunk(2)[0] - self.kind.beta * logsigmoid(margins_B), margins_B


class SimpoObjective(PairObjective):
    """Simple preference optimisation.

    Source: Meng et al. 2024 (arXiv:2405.14734), equation 6.
    """

    kind: SimpoLoss
    needs_reference: ClassVar[bool] = False

    def pair_losses(
        self, log_probs_S: Tensor, counts_S: Tensor, tensors: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Return losses_B and the margins of mean log-probabilities."""
        chosen_B, rejected_B = (log_probs_S / counts_S).chunk(2)
        margins_B = self.kind.beta * (chosen_B - rejected_B)
        return -logsigmoid(margins_B - self.kind.margin), margins_B
