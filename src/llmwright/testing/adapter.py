"""What every adapter must do: call `check_adapter` in the tests of yours.

    from llmwright.testing.adapter import check_adapter

    def test_my_adapter() -> None:
        check_adapter(MyAdapter())

For each objective it trains a tiny model, then trains the adapter on it as `train` does. A pair
that makes no sense may refuse, with a coded error and before the first step.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from llmwright.core import files
from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import LLMwrightError
from llmwright.core.runs import Run
from llmwright.data.records import DatasetInfo, Numbers, Row
from llmwright.models import load
from llmwright.models.adapters.attached import attached_to
from llmwright.models.adapters.put import merge
from llmwright.models.adapters.virtual import plain_class
from llmwright.tasks.task import TASKS
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import CHATML, Framing
from llmwright.training import setup
from llmwright.training.adapters.config import AdapterKind
from llmwright.training.checkpoints.snapshot import WEIGHTS
from llmwright.training.checkpoints.store import Checkpoints
from llmwright.training.config import TrainConfig
from llmwright.training.loop import Trainee, fit
from llmwright.training.objectives.config import OBJECTIVES, ObjectiveKind
from llmwright.training.save import save_weights
from llmwright.training.setup import Material
from llmwright.training.state import State
from llmwright.training.train import make_trainee, prepare_objective, set_seed, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUM_STEPS = 12
RESUMED_AT = 4
LEARNING_RATE = 1e-2
# Float32 sums in another order differ by less than this share of a loss.
TOLERANCE = 1e-3
# Measured in eval mode on the rows that were learned, so that a small fall is one too.
LEARNED = 0.995

_TEXTS = ("rain today", "a cold wind", "sun", "今天天气很好")
_LABELS = ("cold", "rain", "sun")
_ASKED = [[{"role": "user", "content": text}] for text in _TEXTS]
_ROWS: dict[str, list[Row]] = {
    "pair": [{"input": t, "target": t[::-1]} for t in _TEXTS],
    "classification": [{"text": t, "label": _LABELS[n % 3]} for n, t in enumerate(_TEXTS)],
    "regression": [{"text": t, "value": float(n)} for n, t in enumerate(_TEXTS)],
    "tags": [
        {"tokens": t.split(), "tags": [_LABELS[n % 3]] * len(t.split())}
        for n, t in enumerate(_TEXTS)
    ],
    "text": [{"text": t * 3} for t in _TEXTS],
    "messages": [
        {"messages": [*asked, {"role": "assistant", "content": text[::-1]}]}
        for asked, text in zip(_ASKED, _TEXTS, strict=True)
    ],
    "preference": [
        {"prompt": asked, "chosen": t[::-1], "rejected": t}
        for asked, t in zip(_ASKED, _TEXTS, strict=True)
    ],
    "flag": [
        {"prompt": asked, "completion": t, "flag": n % 2 == 0}
        for n, (asked, t) in enumerate(zip(_ASKED, _TEXTS, strict=True))
    ],
}
# A VAE's loss rises while its KL divergence is made to cost more; few masked tokens teach little.
_SETTINGS: dict[str, dict[str, Any]] = {"vae": {"kl_weight": 0.0}, "masked_lm": {"share": 0.6}}
# Rows that a model learned from before it was judged by such rows.
_BEFORE = {"preference": "messages", "flag": "messages"}


@dataclass
class Bench:
    """A project in which tiny models are trained.

    Attributes:
        root: Its folder.
        bases: Rows, objective where it is its own → a trained model, made once.
    """

    root: Path
    bases: dict[tuple[str, str], Artifact] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """The project's artifacts."""
        return Store(self.root / ".llmwright")

    def run(self, name: str, *consumers: Any) -> Run:
        """Return a run with a folder of this name."""
        folder = self.root / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        return Run(name, folder, self.root, self.store, list(consumers))

    def dataset(self, task: str, row_type: str) -> Artifact:
        """Return the rows of a type as a dataset, with the same rows as validation split."""
        import polars as pl

        rows = _ROWS[row_type]
        values: dict[str, Any] = {"task": task, "row_type": row_type, "shape": row_type}
        values |= {"fields": {}, "counts": {"train": len(rows), "validation": len(rows)}}
        if row_type in ("classification", "tags"):
            values["labels"] = sorted(_LABELS)
        if row_type == "regression":
            values["numbers"] = Numbers(mean=1.5, std=1.1, min=0, max=3)
        with self.store.draft("dataset") as draft:
            for split in ("train", "validation"):
                placed = [{**row, "source": "rows", "row": n} for n, row in enumerate(rows, 1)]
                pl.DataFrame(placed).write_parquet(draft.path / f"{split}.parquet")
            files.write_json(
                draft.path / "dataset.json", DatasetInfo.model_validate(values).model_dump()
            )
        assert draft.artifact is not None
        return draft.artifact

    def tokenizer(self, task: str) -> Artifact:
        """Return a tokenizer with one token per character."""
        framing = Framing(frame="cls_sep" if "classification" in task else "eos")
        if task == "text-generation":
            framing = Framing(frame="none", chat_template=CHATML)
        texts = [*_TEXTS, *_LABELS, "user assistant system"]
        made = TOKENIZERS.get("char")(TokenizeConfig(kind="char"), texts, framing)
        with self.store.draft("tokenizer") as draft:
            made.save_pretrained(draft.path)
        assert draft.artifact is not None
        return draft.artifact

    def base(self, objective: ObjectiveKind) -> Artifact:
        """Return a tiny trained model on which the objective can go on."""
        task, row_type = rows_of(objective)
        # A model of a class of its own begins with the same objective.
        own = bool(objective.architecture or objective.makes) and row_type not in _BEFORE
        row_type = _BEFORE.get(row_type, row_type)
        key = (f"{task} {row_type}", objective.kind if own else "")
        if key not in self.bases:
            size = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
            values: dict[str, Any] = {"model": {"kind": "scratch", **size}}
            if own:
                values["objective"] = objective.kind
            if objective.architecture:
                values["model"]["architecture"] = objective.architecture
            config = settings(values | {"max_steps": 8})
            inputs = {"dataset": self.dataset(task, row_type), "tokenizer": self.tokenizer(task)}
            self.bases[key] = train(config, inputs, self.run(f"base {key}"))
        return self.bases[key]


@contextmanager
def bench() -> Iterator[Bench]:
    """Yield a project in a folder of its own, worked in with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))
    torch.set_num_threads(threads)


def rows_of(objective: ObjectiveKind) -> tuple[str, str]:
    """Return task and row type of rows that an objective learns from."""
    task = objective.tasks[0]
    wanted = objective.row_types or TASKS.get(task).row_types
    known = [name for name in ("messages", *wanted) if name in wanted and name in _ROWS]
    assert known, f"{objective.kind} learns from {wanted}, of which this suite has no rows"
    return task, known[0]


def settings(values: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of a short run on the processor, all rows in one batch."""
    fixed = {
        "runtime": {"kind": "single", "device": "cpu", "num_threads": 1},
        "precision": "float32",
        "batch_size": len(_TEXTS),
        "lr": LEARNING_RATE,
        "weight_decay": 0.0,
        "schedule": "constant",
        "max_steps": NUM_STEPS,
        "log_every_steps": 1,
    }
    return TrainConfig.model_validate(fixed | dict(values))


def check_adapter(adapter: AdapterKind, objectives: Sequence[str] = ()) -> None:
    """Run every check with every objective.

    Args:
        adapter: Its options; registered or not.
        objectives: Names; all that are registered when empty.
    """
    with bench() as place:
        names = objectives or OBJECTIVES.names()
        refusals = {name: check_pair(place, adapter, name) for name in names}
    assert not all(refusals.values()), f"it works with no objective: {refusals}"


def check_pair(place: Bench, adapter: AdapterKind, name: str) -> str:
    """Check an adapter with one objective; return the code of the refusal, empty where it works."""
    values: dict[str, Any] = {"kind": name, **_SETTINGS.get(name, {})}
    if name == "distillation":
        values["teacher"] = {"kind": "step"}
    objective = OBJECTIVES.get(name).model_validate(values)
    base = place.base(objective)
    inputs = {"dataset": place.dataset(*rows_of(objective)), "model.name": base}
    if name == "distillation":
        inputs["objective.teacher.name"] = base
    config = settings({"model": {"kind": "step"}, "adapter": adapter, "objective": objective})
    try:
        trial = prepare(place, config, inputs)
    except LLMwrightError as error:
        # One without a text of its own cannot even be made.
        return error.code
    folder = Path(tempfile.mkdtemp(dir=place.root))
    with Checkpoints(folder, {"trial": trial.name}) as checkpoints:
        check_learning(trial, checkpoints)
        check_saving(place, trial, base)
        check_resuming(trial, prepare(place, config, inputs), checkpoints)
    return ""


@dataclass(frozen=True)
class Trial:
    """An adapter that is ready to be trained.

    Attributes:
        name: Adapter and objective, for messages.
        material: Model and rows.
        trainee: Takes part in training.
    """

    name: str
    material: Material
    trainee: Trainee

    def losses(self, model: PreTrainedModel) -> Tensor:
        """Return the loss of each target of the rows with any model of the same class."""
        trainee = self.trainee
        indices_B = trainee.batches.epoch(0)[0]
        arrays = trainee.objective.arrays(trainee.batches.collate(indices_B, 0))
        training = model.training
        with torch.no_grad():
            score = trainee.objective.score(model.eval(), trainee.runtime.tensors(arrays))
        model.train(training)
        return score.losses_N


def prepare(place: Bench, config: TrainConfig, inputs: Mapping[str, Artifact]) -> Trial:
    """Do what `train` does before its first step."""
    run = place.run("trial")
    problem = setup.define(config, inputs, run)
    material = setup.prepare(config, problem, inputs, run)
    set_seed(config.seed)
    trainee = make_trainee(config, problem, material, config.runtime.build(), run)
    prepare_objective(trainee, None, run)
    name = f"{config.adapter.kind} with {problem.objective.kind}"
    return Trial(name, material, trainee)


def check_learning(trial: Trial, checkpoints: Checkpoints) -> None:
    """The loss of one batch falls, and exactly the weights that shall learn change.

    A checkpoint of the way holds no weights of the base.
    """
    model = trial.trainee.model
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    first = trial.losses(model).mean().item()
    state = State()
    for result in fit(trial.trainee, state):
        if result.step == RESUMED_AT:
            checkpoints.save(trial.trainee, state)
            checkpoints.finish()
    last = trial.losses(model).mean().item()
    assert last < LEARNED * first, f"{trial.name}: it hardly learns: {first:.3f} → {last:.3f}"
    changed = {n for n, w in model.named_parameters() if not torch.equal(w, before[n])}
    assert changed <= learning, f"{trial.name}: {sorted(changed - learning)} shall stay, but change"
    assert changed, f"{trial.name}: no weight changes"
    if attached_to(model) is not None:
        idle = sorted(learning - changed)
        assert not idle, f"{trial.name}: {idle} shall learn, but stay"
        latest = checkpoints.latest()
        assert latest is not None
        kept = set(load_file(latest / WEIGHTS)) & before.keys()
        assert kept == learning, f"{trial.name}: a checkpoint holds {sorted(kept ^ learning)}"


def check_saving(place: Bench, trial: Trial, base: Artifact) -> None:
    """A saved adapter comes back on its base; merged it answers alike, and not like the base."""
    material, model = trial.material, trial.trainee.model
    with place.store.draft("model") as draft:
        save_weights(model, material.tokenizer, material.contract, draft.path)
        again = load.load_model(draft.path)
    losses_N = trial.losses(model)
    _alike(trial.losses(again), losses_N, f"{trial.name}: saving changes what the model says")
    adapter = attached_to(again)
    if adapter is None:
        return
    assert adapter.base is not None
    assert adapter.base.name == base.id, f"{trial.name}: the base is not {base.id}"
    assert draft.artifact is not None
    kept = {path.name for path in draft.artifact.path.glob("*.safetensors")}
    assert kept == {"adapter_model.safetensors"}, f"{trial.name}: the base is saved with it"
    below = load.load_model(base.path)
    if type(below) is plain_class(model):
        same = torch.allclose(trial.losses(below), losses_N, atol=TOLERANCE)
        assert not same, f"{trial.name}: it answers like the base alone"
    if adapter.type == "LORA":
        merge(again)
        _alike(trial.losses(again), losses_N, f"{trial.name}: merging changes what it says")


def _alike(found_N: Tensor, expected_N: Tensor, message: str) -> None:
    difference = (found_N - expected_N).abs().max().item()
    assert difference <= TOLERANCE * max(1.0, expected_N.abs().max().item()), message


def check_resuming(trial: Trial, again: Trial, checkpoints: Checkpoints) -> None:
    """A run that begins at a checkpoint ends with the weights of one that was never stopped.

    Args:
        trial: Has come to its end, and left a checkpoint on its way.
        again: The same, not begun.
        checkpoints: Holds it.
    """
    state = checkpoints.restore(again.trainee, lambda *_: None)
    assert state is not None
    assert state.step == RESUMED_AT
    for _ in fit(again.trainee, state):
        pass
    whole = dict(trial.trainee.model.named_parameters())
    other = [n for n, w in again.trainee.model.named_parameters() if not torch.equal(w, whole[n])]
    assert not other, f"{trial.name}: resuming gives other weights: {other}"
