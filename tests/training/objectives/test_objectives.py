"""Losses against torch's own formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from llmwright.models.vae.modeling import kl_divergence
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import IGNORE
from llmwright.training.config import TrainConfig
from llmwright.training.objectives import cross_entropy
from llmwright.training.objectives.config import OBJECTIVES
from llmwright.training.objectives.cross_entropy import cross_entropies
from llmwright.training.objectives.objective import ObjectiveRequest

LOGITS = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(7, (50,), generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.linspace(0.5, 2.0, 7)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["class", "some without", "probabilities"])
@pytest.mark.parametrize("chunked", [False, True])
def test_cross_entropies_are_torchs(weights, smoothing, kind, chunked, monkeypatch) -> None:
    if chunked:
        monkeypatch.setitem(cross_entropy.CHUNK_VALUES, "cpu", 7 * 8)
    targets = TARGETS.clone()
    if kind == "some without":
        targets[::3] = IGNORE
    if kind == "probabilities":
        # What a teacher keeps of its probabilities need not add up to 1.
        targets = 0.9 * LOGITS.flip(0).softmax(-1)
    ours, theirs = (LOGITS.clone().requires_grad_() for _ in range(2))
    losses = cross_entropies(ours, targets, weights, smoothing)
    expected = functional.cross_entropy(
        theirs, targets, weights, reduction="none", label_smoothing=smoothing
    )
    share = torch.linspace(0.1, 2.0, len(targets))
    (losses * share).sum().backward()
    (expected * share).sum().backward()
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


class Answers(nn.Module):
    """A model that says the same logits whatever it reads."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, input_ids, attention_mask=None):
        return SimpleNamespace(logits=self.logits)


def classification(labels, num_labels, multi_label=False, counts=None, total=0, **values):
    names = [f"l{i}" for i in range(num_labels)]
    contract = Contract(
        task="text-classification",
        row_type="classification",
        model_type="bert",
        num_parameters=1,
        fields={},
        max_length=8,
        labels=names,
        multi_label=multi_label,
    )
    config = TrainConfig.model_validate(values)
    request = ObjectiveRequest(
        None, contract, config.label_smoothing, config.class_weights, 42, counts, total
    )
    objective = OBJECTIVES.get("classification").model_validate({}).build(request)
    batch = {"input_ids": np.ones((len(labels), 3), dtype=np.int64), "labels": labels}
    arrays = objective.arrays(batch)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return objective, arrays, tensors


def mean_loss(objective, arrays, tensors, logits) -> torch.Tensor:
    return objective.losses(Answers(logits), tensors, 0.0).sum().detach() / objective.weight(arrays)


def test_label_smoothing_and_class_weights_are_torchs_mean() -> None:
    weights = {f"l{i}": float(w) for i, w in enumerate(WEIGHTS)}
    made = classification(TARGETS.numpy(), 7, label_smoothing=0.1, class_weights=weights)
    expected = functional.cross_entropy(LOGITS, TARGETS, WEIGHTS, label_smoothing=0.1)
    torch.testing.assert_close(mean_loss(*made, LOGITS), expected)


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    targets = np.array([0] * 10 + [1] * 5 + [2] * 1)
    objective, _, _ = classification(
        targets, 3, counts=np.bincount(targets), total=16, class_weights="balanced"
    )
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    np.testing.assert_allclose(objective.weights_C.numpy(), expected, rtol=1e-6)


def test_several_labels_are_torchs_binary_cross_entropy() -> None:
    targets = (torch.rand(50, 7, generator=torch.Generator().manual_seed(2)) > 0.7).float()
    counts = targets.sum(dim=0).numpy()
    made = classification(targets.numpy(), 7, True, counts, 50, class_weights="balanced")
    weights = torch.from_numpy((50 - counts) / counts)
    expected = functional.binary_cross_entropy_with_logits(LOGITS, targets, pos_weight=weights)
    torch.testing.assert_close(mean_loss(*made, LOGITS), expected)


def test_a_label_of_every_row_keeps_a_weight() -> None:
    targets = np.array([[1, 0], [1, 1], [1, 0], [1, 0]], dtype=np.float32)
    objective, _, _ = classification(
        targets, 2, True, targets.sum(axis=0), 4, class_weights="balanced"
    )
    np.testing.assert_allclose(objective.weights_C.numpy(), [1 / 4, 3.0])


def test_the_score_knows_no_weights_and_no_smoothing() -> None:
    weights = {f"l{i}": float(w) for i, w in enumerate(WEIGHTS)}
    objective, arrays, tensors = classification(
        TARGETS.numpy(), 7, label_smoothing=0.1, class_weights=weights
    )
    loss = objective.score(Answers(LOGITS), tensors).losses_N.sum()
    expected = functional.cross_entropy(LOGITS, TARGETS)
    torch.testing.assert_close(loss.detach() / objective.num_targets(arrays), expected)


def test_right_predictions_are_counted() -> None:
    objective, _, tensors = classification(TARGETS.numpy(), 7)
    score = objective.score(Answers(LOGITS), tensors)
    assert int(score.right_N.sum()) == int((LOGITS.argmax(dim=1) == TARGETS).sum())
    assert int(score.judged_N.sum()) == 50


@pytest.mark.parametrize(
    ("answers", "right", "judged"),
    [([0, 0, 0, 0], 0, 1), ([0, 0, 0, 1], 1, 1), ([2, 0, 0, 1], 1, 2), ([0, 0, 0, 2], 0, 1)],
)
def test_a_word_outside_that_is_called_so_is_no_merit(
    answers: list[int], right: int, judged: int
) -> None:
    contract = Contract(
        task="token-classification",
        row_type="tags",
        model_type="bert",
        num_parameters=1,
        fields={},
        max_length=8,
        labels=["O", "LOC", "PER"],
    )
    request = ObjectiveRequest(None, contract)
    objective = OBJECTIVES.get("tagging").model_validate({}).build(request)
    batch = {"input_ids": np.ones((1, 5), dtype=np.int64), "labels": np.array([[-100, 0, 0, 0, 1]])}
    tensors = {name: torch.from_numpy(array) for name, array in objective.arrays(batch).items()}
    logits_BTC = functional.one_hot(torch.tensor([[0, *answers]]), 3).float()
    score = objective.score(Answers(logits_BTC), tensors)
    assert (int(score.right_N.sum()), int(score.judged_N.sum())) == (right, judged)


def vae(**values):
    contract = Contract(
        task="text-generation",
        row_type="text",
        model_type="llmwright_vae",
        num_parameters=1,
        fields={},
        max_length=8,
    )
    model = SimpleNamespace(to_logvar=None)
    request = ObjectiveRequest(model, contract)
    return OBJECTIVES.get("vae").model_validate(values).build(request)


def test_kl_weight_grows_linearly() -> None:
    objective = vae(kl_weight=0.8, kl_anneal_fraction=0.5)
    assert [objective.kl_weight(done) for done in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.4, 0.8, 0.8]
    assert vae(kl_anneal_fraction=0.0).kl_weight(0.0) == 1.0


@pytest.mark.parametrize("free_bits", [0.0, 0.3])
def test_bound_is_reconstruction_plus_weighted_kl_with_its_floor(free_bits) -> None:
    objective = vae(free_bits=free_bits, kl_anneal_fraction=0.0)
    ids = np.array([[1, 4, 5, 2], [1, 3, 2, 0]])
    labels = np.array([[1, 4, 5, 2], [1, 3, 2, -100]])
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
    arrays = objective.arrays({"input_ids": ids, "attention_mask": mask, "labels": labels})
    assert arrays["targets"].tolist() == [4, 5, 2, 3, 2]
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(5))
    mu = torch.tensor([[0.0, 1.0], [0.1, -1.0]])
    output = SimpleNamespace(logits=logits, mu=mu, logvar=torch.zeros(2, 2))
    loss = objective.losses(lambda **_: output, tensors, 1.0).sum()
    shifted = logits[:, :-1].flatten(0, 1)
    targets = torch.from_numpy(labels[:, 1:].reshape(-1).copy())
    reconstruction = functional.cross_entropy(shifted, targets, reduction="sum")
    kl_means = kl_divergence(mu, torch.zeros(2, 2)).mean(dim=0)
    kl = 2 * sum(max(free_bits, float(value)) for value in kl_means)
    torch.testing.assert_close(loss, reconstruction + kl)


def test_each_target_knows_its_row() -> None:
    objective = vae()
    labels = np.array([[1, 4, 5, 2], [1, 3, 2, -100]])
    arrays = objective.arrays({"input_ids": labels.clip(0), "labels": labels})
    assert objective.rows_of(arrays).tolist() == [0, 0, 0, 1, 1]
    objective, arrays, _ = classification(np.zeros((2, 3), dtype=np.float32), 3, multi_label=True)
    assert objective.rows_of(arrays).tolist() == [0, 0, 0, 1, 1, 1]
