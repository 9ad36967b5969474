"""Model and objective as one module: what is distributed and compiled, and what the loop calls."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from torch import Tensor, nn

from llmwright.training.acceleration.compilation import CompiledLayers
from llmwright.training.objectives.objective import Objective, Score, Tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Learner(nn.Module):
    """The one forward pass of training.

    Objectives call parts of a model (its body, its head). Processes that share the work, and the
    compiler, only see what goes through the forward of the module they were given: this one.

    Args:
        model: Learns.
        objective: Makes the losses; no module, so that weights of its own stay out.

    Attributes:
        compiled: Used for losses, where it pays; None to run the model as it is.
    """

    compiled: CompiledLayers | None = None

    def __init__(self, model: PreTrainedModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, tensors: Tensors | None, done: float | None = None, surveys: bool = False
    ) -> Tensor | Score | None:
        """Return the summed loss of a batch; without ``done``, its score.

        Args:
            tensors: What `Objective.arrays` returned, on the device. None for nothing: a call in
                which what is wrapped around this module makes itself ready.
            done: Share of the run that is over, 0 to 1.
            surveys: Return what `Objective.survey` returns instead.
        """
        if tensors is None:
            return None
        if surveys:
            return self.objective.survey(self.model, tensors)
        if done is None:
            return self.objective.score(self.model, tensors)
        with contextlib.nullcontext() if self.compiled is None else self.compiled.used():
            return self.objective.losses(self.model, tensors, done).sum()
