"""What an objective is: how a batch becomes a loss.

A batch has targets: labelled tokens, tagged words, labels, pairs of answers. An objective returns
the loss of each; the loop sums them and divides by the number of targets of the whole optimizer
step. So gradients do not depend on how a step is cut into batches. A loss that compares a target
with all others of its step surveys them first.

Shapes: B rows, N targets, C classes or tokens, K sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from llmwright.core.errors import ConfigError, closest
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Batch
from llmwright.training.objectives.config import ObjectiveKind
from llmwright.training.objectives.cross_entropy import cross_entropies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llmwright.core.artifacts import Artifact
    from llmwright.training.data.batching import Batches
    from llmwright.training.runtimes.runtime import Runtime

Tensors = dict[str, Tensor]

# Among the tensors: what `Objective.survey` found, added up over a whole step or split.
SURVEY = "survey"


class Score(NamedTuple):
    """How good the prediction of each target is.

    Attributes:
        losses_N: Plain losses.
        right_N: Whether it is right.
        judged_N: Whether it counts as a prediction at all.
    """

    losses_N: Tensor
    right_N: Tensor
    judged_N: Tensor


@dataclass(frozen=True)
class ObjectiveRequest:
    """What an objective is made from.

    Attributes:
        model: The model that will be trained, to find out what it needs.
        contract: Labels and special tokens.
        smoothing: Share of a target's probability spread over all classes.
        class_weights: ``none``, ``balanced`` or a weight for each label.
        seed: Of what an objective draws itself.
        label_counts_C: How often the training split has each label; None without labels.
        num_targets: Rows, or tagged words, of the training split.
        tokenizer: The model's, for objectives that ask a second model.
        inputs: Artifacts by dotted field, where such a model may be among them.
        root: Project folder, where relative paths start.
    """

    model: PreTrainedModel
    contract: Contract
    smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] | Mapping[str, float] = "none"
    seed: int = 42
    label_counts_C: np.ndarray | None = None
    num_targets: int = 0
    tokenizer: PreTrainedTokenizerFast | None = None
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    root: Path | None = None


class Objective(ABC):
    """A loss over the targets of a batch.

    Args:
        kind: Its own settings.
        request: What it is made from.

    Attributes:
        kind: Its own settings.
        weighs_classes: Whether `class_weights` means something to it.
        smooths_labels: Whether `label_smoothing` means something to it.
        needs_reference: Whether it asks what the model said before training: `prepare` then reads
            each split once.
        surveys: Whether its losses must know something of all targets of a step.
        grid: The array whose rows and columns its positions count.
    """

    kind: ObjectiveKind
    weighs_classes: ClassVar[bool] = False
    smooths_labels: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    surveys: ClassVar[bool] = False
    grid: ClassVar[str] = "input_ids"

    def __init__(self, kind: ObjectiveKind, request: ObjectiveRequest) -> None:
        self.kind = kind
        if request.class_weights != "none" and not self.weighs_classes:
            raise ConfigError("TRAIN-004", option="class_weights", objective=kind.kind)
        if request.smoothing and not self.smooths_labels:
            raise ConfigError("TRAIN-004", option="label_smoothing", objective=kind.kind)
        self.smoothing = request.smoothing
        weights_C = class_weights(request) if self.weighs_classes else None
        self.weights_C = None if weights_C is None else torch.from_numpy(weights_C)

    def economies(self) -> list[str]:
        """Return sentences on what it leaves out or does in parts to be quick and small."""
        return []

    def expect(self, model: PreTrainedModel, batches: Batches) -> None:
        """Put something in the place of what `prepare` will find, so that a step can be tried.

        What a run takes is foreseen by that, before anybody waits. Nothing by default.

        Args:
            model: Is made as it will be in training.
            batches: Of a split; of the same shapes as after `prepare`.
        """
        return

    def prepare(
        self,
        model: PreTrainedModel,
        batches: Batches,
        runtime: Runtime,
        report: Callable[[int, int], None],
        max_tokens: int | None = None,
    ) -> None:
        """Look at a split before training, with the model as it is then; nothing by default.

        Args:
            model: In train mode before and after.
            batches: Of the split; what is found is attached to its examples.
            runtime: Where the model runs.
            report: Called with batches done and all batches; what it raises ends the work.
            max_tokens: Most tokens that memory holds at once, as far as that is known.

        Raises:
            ResourceError: Memory ran out and no smaller batch is possible (``TRAIN-130``), or
                other processes would wait (``TRAIN-131``).
        """
        return

    @abstractmethod
    def arrays(self, batch: Batch) -> Batch:
        """Return what goes to the device: the model's inputs and ``targets``."""

    def weight(self, arrays: Batch) -> float:
        """Return what the summed loss of these arrays is to be divided by in training."""
        if self.weights_C is None:
            return float(self.num_targets(arrays))
        return float(self.weights_C.numpy()[arrays["targets"]].sum())

    def num_targets(self, arrays: Batch) -> int:
        """Return how many terms the loss of `score` has."""
        return len(arrays["targets"])

    def rows_of(self, arrays: Batch) -> np.ndarray:
        """Return rows_N: the row of the batch that each target belongs to."""
        num_rows = len(arrays["input_ids"])
        if "positions" in arrays:
            rows_N: np.ndarray = arrays["positions"] // arrays[self.grid].shape[1]
            return rows_N
        return np.repeat(np.arange(num_rows), self.num_targets(arrays) // num_rows)

    def survey(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return sums_K over the targets of a batch, of which losses must know the whole step's.

        The sums of all batches of the step, and of all processes, are among the tensors of each as
        `SURVEY`. Nothing by default; only asked where `surveys`, without gradients.

        Args:
            model: Takes the tensors.
            tensors: `arrays` on the device.
        """
        return torch.zeros(0)

    @abstractmethod
    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return logits_NC, one row for each target."""

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return losses_N, weighted and smoothed as training wants them.

        Args:
            model: Takes the tensors.
            tensors: `arrays` on the device.
            done: Share of the run that is over, 0 to 1.
        """
        return self.losses_of(self.logits(model, tensors), tensors)

    def losses_of(self, logits_NC: Tensor, tensors: Tensors) -> Tensor:
        """Return losses_N of logits that are there already."""
        weights_C = self.weights_C
        if weights_C is not None:
            weights_C = weights_C.to(logits_NC.device)
        return cross_entropies(logits_NC, tensors["targets"], weights_C, self.smoothing)

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return plain losses, and which predictions are right.

        Without label smoothing and class weights, so that runs that differ in them compare.
        """
        logits_NC = self.logits(model, tensors)
        losses_N = cross_entropies(logits_NC, tensors["targets"])
        return self._judged(losses_N, logits_NC.argmax(dim=-1), tensors["targets"])

    def _judged(self, losses_N: Tensor, answers_N: Tensor, targets_N: Tensor) -> Score:
        right_N = answers_N == targets_N
        return Score(losses_N, right_N, torch.ones_like(right_N))


def is_autoencoder(model: PreTrainedModel) -> bool:
    """Say whether a model reads a whole text into a latent Gaussian before it writes it again."""
    return hasattr(model, "to_logvar")


INPUT_NAMES = ("input_ids", "token_type_ids", "position_ids")


def inputs_of(batch: Batch, needs_mask: bool = True) -> Batch:
    """Return ids and, only where it hides something, the mask: without one, models are quicker."""
    inputs: Batch = {n: batch[n] for n in INPUT_NAMES if n in batch}
    mask_BT = batch.get("attention_mask")
    if needs_mask and mask_BT is not None and not mask_BT.all():
        inputs["attention_mask"] = mask_BT
    return inputs


def class_weights(request: ObjectiveRequest) -> np.ndarray | None:
    """Return the weight of each label (float32), or None when all weigh the same.

    Balanced weights are ``targets / (labels * count)``; of several labels at once, the weight of
    a label's presence is ``absent / present``, at least one row counting as absent: a weight of 0
    would let the label be forgotten. A label that never occurs weighs 1.

    Raises:
        ConfigError: A weight is for a label that does not exist (``TRAIN-005``).
    """
    wanted, contract = request.class_weights, request.contract
    if wanted == "none":
        return None
    if isinstance(wanted, Mapping):
        for name in wanted:
            if name not in contract.labels:
                raise ConfigError("TRAIN-005", label=name, hint=closest(name, contract.labels))
        return np.array([wanted.get(name, 1.0) for name in contract.labels], dtype=np.float32)
    assert request.label_counts_C is not None
    counts_C = request.label_counts_C.astype(np.float64)
    some_C = np.maximum(counts_C, 1)
    if contract.multi_label:
        weights_C = np.maximum(request.num_targets - counts_C, 1) / some_C
    else:
        weights_C = request.num_targets / (len(counts_C) * some_C)
    return np.where(counts_C > 0, weights_C, 1.0).astype(np.float32)
