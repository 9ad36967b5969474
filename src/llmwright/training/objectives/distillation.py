"""Learn from a teacher: its probabilities at a temperature, and how it relates tokens.

Source: Hinton et al. 2015 (arXiv:1503.02531), section 2; relations: Tung and Mori 2019
(arXiv:1907.09682), between the tokens of a text instead of the texts of a batch.

Shapes: B rows, T tokens, N targets, C classes or tokens, D hidden size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from llmwright.core.errors import ConfigError
from llmwright.models import load
from llmwright.models.config import HubModel, StepModel
from llmwright.models.spec import match_vocabulary, max_context
from llmwright.tasks.task import TASKS, Batch, target_limit
from llmwright.training.objectives.config import OBJECTIVES, DistillationLoss
from llmwright.training.objectives.cross_entropy import cross_entropies
from llmwright.training.objectives.objective import Objective, ObjectiveRequest, Score, Tensors

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

SHARED, TARGET_ROWS = "shared", "target_rows"
DECODER_INPUTS = "decoder_input_ids"


class DistillationObjective(Objective):
    """The task's own objective with a teacher beside the rows.

    Raises:
        ConfigError: The teacher is no finished model (``TRAIN-021``), or has another vocabulary
            (``TRAIN-022``) or other labels (``TRAIN-023``), or reads less than the rows are long
            (``TRAIN-201``).
    """

    kind: DistillationLoss

    def __init__(self, kind: DistillationLoss, request: ObjectiveRequest) -> None:
        self.kind = kind
        task = TASKS.get(request.contract.task)
        own = OBJECTIVES.get(task.objective).model_validate({})
        # It knows about class weights and smoothing.
        self.own: Objective = own.build(request)
        self.multi_label = request.contract.multi_label
        self.teacher = load_teacher(kind, request, task.auto_class)
        asked = replace(request, model=self.teacher)
        self.teachers: Objective = own.build(asked)
        if getattr(self.teachers, "needs_mask", False):
            self.own.needs_mask = True

    def economies(self) -> list[str]:
        """Return what the task's objective returns."""
        return self.own.economies()

    def arrays(self, batch: Batch) -> Batch:
        """Return what the task's objective takes; for relations also which tokens take part."""
        arrays = self.own.arrays(batch)
        if self.kind.hidden_weight:
            arrays = {**arrays, SHARED: self._shared(arrays), TARGET_ROWS: self.rows_of(arrays)}
        return arrays

    def weight(self, arrays: Batch) -> float:
        """Return what the task's objective returns."""
        return self.own.weight(arrays)

    def num_targets(self, arrays: Batch) -> int:
        """Return what the task's objective returns."""
        return self.own.num_targets(arrays)

    def rows_of(self, arrays: Batch) -> np.ndarray:
        """Return what the task's objective returns."""
        return self.own.rows_of(arrays)

    def logits(self, model: PreTrainedModel, tensors: Tensors) -> Tensor:
        """Return what the task's objective returns."""
        return self.own.logits(model, tensors)

    def score(self, model: PreTrainedModel, tensors: Tensors) -> Score:
        """Return the scores on the rows alone, so that runs without a teacher compare."""
        return self.own.score(model, tensors)

    def losses(self, model: PreTrainedModel, tensors: Tensors, done: float) -> Tensor:
        """Return losses_N: the rows' share, the teacher's share, and the relations."""
        share = self.kind.teacher_weight
        with last_hidden(model) as hidden:
            logits_NC = self.own.logits(model, tensors)
        if self.teacher.device != logits_NC.device:
            self.teacher.to(logits_NC.device)
        with torch.no_grad(), last_hidden(self.teacher) as taught:
            teacher_NC = self.teachers.logits(self.teacher, self._begun(tensors))
        taught_N = share * self._divergence(logits_NC, teacher_NC)
        if self.kind.hidden_weight:
            apart_B = relations_apart(hidden[-1], taught[-1], tensors[SHARED])
            taught_N = taught_N + self.kind.hidden_weight * apart_B[tensors[TARGET_ROWS]]
        weights_C = self.own.weights_C
        if weights_C is not None and not self.multi_label:
            # The step is divided by these weights: the teacher's share is to stay what it is.
            taught_N = taught_N * weights_C.to(taught_N.device)[tensors["targets"]]
        return (1 - share) * self.own.losses_of(logits_NC, tensors) + taught_N

    def _begun(self, tensors: Tensors) -> Tensors:
        """Return tensors in which what is written begins as the teacher learned it."""
        start = getattr(self.teacher.config, "decoder_start_token_id", None)
        if DECODER_INPUTS not in tensors or start is None:
            return tensors
        ids_BU = tensors[DECODER_INPUTS].clone()
        ids_BU[:, 0] = start
        return {**tensors, DECODER_INPUTS: ids_BU}

    def _divergence(self, logits_NC: Tensor, teacher_NC: Tensor) -> Tensor:
        """Return the KL divergence from the teacher's probabilities, times temperature squared."""
        heat = self.kind.temperature
        if self.multi_label:
            wanted_NC = (teacher_NC.float() / heat).sigmoid()
            asked = functional.binary_cross_entropy_with_logits
            losses_NC = asked(logits_NC.float() / heat, wanted_NC, reduction="none")
            least_NC = asked(wanted_NC.logit(eps=1e-7), wanted_NC, reduction="none")
            return heat**2 * (losses_NC - least_NC).flatten()
        # A published model may have embeddings in reserve: what neither can say is left out.
        width = min(logits_NC.shape[-1], teacher_NC.shape[-1])
        log_wanted_NC = (teacher_NC[:, :width].float() / heat).log_softmax(dim=-1)
        wanted_NC = log_wanted_NC.exp()
        entropy_N = -(wanted_NC * log_wanted_NC).sum(dim=-1)
        losses_N = cross_entropies(logits_NC[:, :width] / heat, wanted_NC)
        return heat**2 * (losses_N - entropy_N)

    def _shared(self, arrays: Batch) -> np.ndarray:
        """Return shared_BT: 1 for tokens whose relations are compared."""
        shared_BT = np.ones(arrays[self.own.grid].shape, dtype=np.float32)
        if "positions" in arrays:
            shared_BT[:] = 0
            shared_BT.reshape(-1)[arrays["positions"]] = 1
        elif "attention_mask" in arrays:
            shared_BT = arrays["attention_mask"].astype(np.float32)
        return shared_BT


def load_teacher(
    kind: DistillationLoss, request: ObjectiveRequest, auto_class: str
) -> PreTrainedModel:
    """Return the teacher, frozen, in eval mode.

    Raises:
        ConfigError: As `DistillationObjective`.
        InputError: It cannot be loaded.
    """
    folder = teacher_folder(kind, request)
    teacher = load.load_model(folder, task=auto_class)
    assert request.tokenizer is not None
    own, other = request.tokenizer.get_vocab(), load.load_tokenizer(folder).get_vocab()
    if own != other:
        differs = sorted(set(own.items()) ^ set(other.items()), key=lambda item: item[1])
        raise ConfigError(
            "TRAIN-022",
            where="train.objective.teacher",
            teacher=folder,
            size=len(other),
            own_size=len(own),
            token=differs[0][0],
        )
    refuse_short(teacher, request, folder)
    # Both tokenizers may just have been given a padding token that the teacher never saw.
    match_vocabulary(teacher, request.tokenizer)
    teacher.requires_grad_(False)
    labels, names = request.contract.labels, teacher.config.id2label
    if labels and labels != [names.get(index) for index in range(len(names))]:
        raise ConfigError(
            "TRAIN-023",
            where="train.objective.teacher",
            teacher=folder,
            labels=", ".join(map(str, names.values())),
            wanted=", ".join(labels),
        )
    return teacher


def refuse_short(teacher: PreTrainedModel, request: ObjectiveRequest, folder: Path) -> None:
    """Refuse a teacher that cannot read the rows as they are cut for the student.

    Raises:
        ConfigError: Its context is shorter (``TRAIN-201``).
    """
    contract, context = request.contract, max_context(teacher.config)
    longest = max(contract.max_length, target_limit(contract))
    if context is not None and context < longest:
        raise ConfigError(
            "TRAIN-201",
            where="train.objective.teacher",
            teacher=folder,
            context=context,
            max_length=longest,
        )


def teacher_folder(kind: DistillationLoss, request: ObjectiveRequest) -> Path:
    """Return the folder of a teacher.

    Raises:
        ConfigError: It is to be made from scratch (``TRAIN-021``).
    """
    spec = kind.teacher
    if isinstance(spec, HubModel):
        return load.locate(spec.name, revision=spec.revision, root=request.root)
    if isinstance(spec, StepModel) and "objective.teacher.name" in request.inputs:
        return request.inputs["objective.teacher.name"].path
    raise ConfigError("TRAIN-021", where="train.objective.teacher", origin=spec.kind)


@contextlib.contextmanager
def last_hidden(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Yield a list that gets the last hidden states of the body whenever it runs."""
    kept: list[Tensor] = []
    hook = model.base_model.register_forward_hook(lambda _, __, output: kept.append(output[0]))
    try:
        yield kept
    finally:
        hook.remove()


def relations_apart(one_BTD: Tensor, other_BTE: Any, shared_BT: Tensor) -> Tensor:
    """Return apart_B: the mean squared difference of the cosines between tokens of a text."""
    pairs_BTT = shared_BT[:, :, None] * shared_BT[:, None, :]
    cosines = [functional.normalize(each.float(), dim=-1) for each in (one_BTD, other_BTE)]
    one_BTT, other_BTT = (each @ each.transpose(1, 2) for each in cosines)
    squared_BTT = (one_BTT - other_BTT).square() * pairs_BTT
    return squared_BTT.sum(dim=(1, 2)) / pairs_BTT.sum(dim=(1, 2)).clamp(min=1)
