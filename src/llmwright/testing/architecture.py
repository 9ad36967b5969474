"""What every architecture must do: call `check_architecture` in the tests of yours.

    from llmwright.testing.architecture import check_architecture

    def test_my_architecture() -> None:
        check_architecture(MyArchitecture())

It builds tiny models for every Auto class the architecture names, and for those that serve a task
it encodes rows, computes the loss and trains exactly as `train` does.

Shapes: B rows, T tokens, N targets, C classes or tokens.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from llmwright.data.records import DatasetInfo, Row
from llmwright.models import load
from llmwright.models.config import MODEL_TYPES, Architecture, ScratchModel
from llmwright.models.spec import ModelRequest, build_model
from llmwright.tasks.contract import Contract
from llmwright.tasks.make_contract import ContractRequest, make_contract, task_of
from llmwright.tasks.task import TASKS, Task
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import Framing
from llmwright.training.objectives.config import OBJECTIVES
from llmwright.training.objectives.objective import Objective, ObjectiveRequest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MAX_LENGTH = 32
NUM_STEPS = 25
LEARNING_RATE = 5e-3
# Float32 sums in another order differ by less than this share of the logits' spread.
TOLERANCE = 1e-3

_SENTENCES = ("rain today", "a cold wind from the north", "sun", "今天天气很好", "it is warm")
_LABELS = ("cold", "rain", "sun")
_ROWS: dict[str, tuple[str, list[Row]]] = {
    "text-generation": ("pair", [{"input": s, "target": s[::-1]} for s in _SENTENCES]),
    "seq2seq": ("pair", [{"input": s, "target": s[::-1]} for s in _SENTENCES]),
    "text-classification": (
        "classification",
        [{"text": s, "label": _LABELS[n % 3]} for n, s in enumerate(_SENTENCES)],
    ),
    "token-classification": (
        "tags",
        [{"tokens": s.split(), "tags": [_LABELS[n % 3]] * len(s.split())}
         for n, s in enumerate(_SENTENCES)],
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One task done by a tiny model of the architecture.

    Attributes:
        task: The task.
        contract: Labels, lengths and special tokens.
        tokenizer: One token per character.
        model: With random weights.
        objective: The task's default one, or the one made for the architecture.
        rows: Rows to learn.
        unused: Patterns of the names of weights that the task has no use for.
    """

    task: Task
    contract: Contract
    tokenizer: PreTrainedTokenizerFast
    model: PreTrainedModel
    objective: Objective
    rows: list[Row]
    unused: tuple[str, ...] = ()

    def tensors(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return a batch of rows as the model and the objective take it."""
        examples = [self.task.encode(row, self.tokenizer, self.contract) for row in rows]
        arrays = self.objective.arrays(self.task.collate(examples, self.contract))
        return {name: torch.from_numpy(values) for name, values in arrays.items()}


def check_architecture(architecture: Architecture) -> None:
    """Run every check for every Auto class that the architecture names.

    Args:
        architecture: Its options; registered or not.
    """
    assert architecture.auto_classes, "it names no Auto class, so no task can use it"
    assert architecture.sizes, "it has no sizes: give at least tiny"
    for auto_class in architecture.auto_classes:
        check_seed(architecture, auto_class)
        check_saving(architecture, auto_class)
    trials = list(trials_of(architecture))
    assert trials, f"no task uses any of {architecture.auto_classes}"
    for trial in trials:
        check_shapes(trial)
        check_padding(trial)
        check_learning(trial)


def trials_of(architecture: Architecture) -> Iterator[Trial]:
    """Yield a tiny model with rows for each task the architecture can do."""
    for name in TASKS.names():
        task_class = TASKS.get(name)
        if name in _ROWS and task_class.auto_class in architecture.auto_classes:
            yield _trial(architecture, name)


def _trial(architecture: Architecture, task_name: str) -> Trial:
    row_type, rows = _ROWS[task_name]
    labels = [] if row_type == "pair" else sorted(_LABELS)
    fields = {name: name for name in rows[0]}
    info = DatasetInfo.model_validate(
        {"task": task_name, "row_type": row_type, "shape": row_type, "fields": fields,
         "labels": labels}
    )  # fmt: skip
    task = task_of(info)
    tokenizer = _tokenizer("eos" if row_type == "pair" else "cls_sep")
    model = build(architecture, task.auto_class, tokenizer, tuple(labels))
    request = ContractRequest(info, tokenizer, model.config, 0, MAX_LENGTH, MAX_LENGTH)
    contract = make_contract(request)
    kind = next(
        (
            found.model_validate({})
            for found in map(OBJECTIVES.get, OBJECTIVES.names())
            if found.architecture == architecture.kind
        ),
        None,
    ) or OBJECTIVES.get(task.objective).model_validate({})
    objective = kind.build(ObjectiveRequest(model, contract))
    unused = architecture.unused
    return Trial(task, contract, tokenizer, model, objective, rows, unused)


def _tokenizer(frame: Literal["eos", "cls_sep"]) -> PreTrainedTokenizerFast:
    return TOKENIZERS.get("char")(TokenizeConfig(kind="char"), _SENTENCES, Framing(frame=frame))


def build(
    architecture: Architecture,
    auto_class: str,
    tokenizer: PreTrainedTokenizerFast | None = None,
    labels: tuple[str, ...] = (),
    seed: int = 1,
) -> PreTrainedModel:
    """Return a tiny model of the architecture without dropout."""
    tokenizer = tokenizer or _tokenizer("eos")
    if "Classification" in auto_class:
        labels = labels or _LABELS
    size: Any = "tiny" if "tiny" in architecture.sizes else next(iter(architecture.sizes))
    spec = ScratchModel(
        architecture=architecture, size=size, hidden_size=32, num_heads=2, dropout=0.0
    )
    request = ModelRequest(auto_class, tokenizer, labels, max_length=MAX_LENGTH, seed=seed)
    return build_model(spec, request)


def check_seed(architecture: Architecture, auto_class: str) -> None:
    """The same seed gives the same weights, another seed others."""
    first, same, other = (build(architecture, auto_class, seed=seed) for seed in (1, 1, 2))
    assert _differing(first, same) == [], f"{auto_class}: not the same weights for the same seed"
    assert _differing(first, other), f"{auto_class}: the same weights for every seed"


def _differing(one: PreTrainedModel, other: PreTrainedModel) -> list[str]:
    left, right = one.state_dict(), other.state_dict()
    if left.keys() != right.keys():
        return sorted(left.keys() ^ right.keys())
    return [name for name in left if not torch.equal(left[name], right[name])]


def check_saving(architecture: Architecture, auto_class: str) -> None:
    """A saved model comes back bit by bit, as the class it was saved with."""
    model = build(architecture, auto_class).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load.save_model(model, folder)
        assert list(folder.glob("*.safetensors")), "the weights are not saved as safetensors"
        assert not list(folder.glob("*.py")), "code is saved beside the weights"
        again = load.load_model(folder)
    assert type(again) is type(model), f"{type(model).__name__} became {type(again).__name__}"
    changed = _differing(model, again)
    assert not changed, f"{auto_class}: weights changed by saving: {changed}"
    model_type = model.config.model_type
    known = model_type in MODEL_TYPES or type(model).__module__.startswith("transformers.")
    assert known, f"register a model_type {model_type!r}, or a new process cannot load it"


def check_shapes(trial: Trial) -> None:
    """Logits have one row per target and one column per label or token."""
    tensors = trial.tensors(trial.rows)
    with torch.no_grad():
        logits_NC = trial.objective.logits(trial.model.eval(), tensors)
    num_classes = len(trial.contract.labels) or len(trial.tokenizer)
    assert len(logits_NC) == len(tensors["targets"]), f"{tuple(logits_NC.shape)} logits"
    assert logits_NC.shape[1] >= num_classes, f"{logits_NC.shape[1]} for {num_classes} classes"
    assert torch.isfinite(logits_NC).all(), f"{trial.task.name}: logits that are no numbers"


def check_padding(trial: Trial) -> None:
    """A row's logits are the same alone and beside longer rows."""
    model = trial.model.eval()
    with torch.no_grad():
        alone = [trial.objective.logits(model, trial.tensors([row])) for row in trial.rows]
        together_NC = trial.objective.logits(model, trial.tensors(trial.rows))
    spread = max(together_NC.std().item(), 1e-6)
    start = 0
    for row, own_NC in zip(trial.rows, alone, strict=True):
        found_NC = together_NC[start : start + len(own_NC)]
        start += len(own_NC)
        difference = (found_NC - own_NC).abs().max().item() / spread
        assert difference <= TOLERANCE, (
            f"{trial.task.name}: padding changes the logits of {row} by {difference:.2g} of their "
            "standard deviation"
        )


def check_learning(trial: Trial) -> None:
    """A few steps on one small batch lower its loss, and every weight learns.

    Which weights a task has no use for, the architecture says itself (`Architecture.unused`).
    """
    model = trial.model.train()
    tensors = trial.tensors(trial.rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    losses: list[float] = []
    reached: set[str] = set()
    with torch.random.fork_rng(devices=[]):
        for _ in range(NUM_STEPS):
            torch.manual_seed(0)  # the same noise in each step, so that losses compare
            loss = trial.objective.losses(model, tensors, done=0.0).sum()
            optimizer.zero_grad()
            loss.backward()
            reached |= {n for n, w in model.named_parameters() if _has_gradient(w)}
            optimizer.step()
            losses.append(loss.item())
    falling = all(later < earlier for earlier, later in itertools.pairwise(losses[:2]))
    shown = [round(loss, 3) for loss in losses]
    assert falling, f"{trial.task.name}: the first step does not lower the loss: {shown}"
    assert min(losses) < 0.9 * losses[0], f"{trial.task.name}: it hardly learns: {shown}"
    learns = [(n, w) for n, w in model.named_parameters() if w.requires_grad]
    idle = {n for n, w in learns if n not in reached or torch.equal(w, before[n])}
    idle = {n for n in idle if not any(fnmatch(n, pattern) for pattern in trial.unused)}
    assert not idle, f"{trial.task.name}: these weights do not learn: {sorted(idle)}"


def _has_gradient(weight: torch.Tensor) -> bool:
    return weight.grad is not None and bool(weight.grad.any())
