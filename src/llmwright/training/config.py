"""What can be asked of `train`, and the registries of everything that can be exchanged in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from llmwright.core.config import Choice, Config, Input, Kind, LocalPath
from llmwright.core.locale import text
from llmwright.core.registry import Registry
from llmwright.models.config import ModelSpec, ScratchModel

if TYPE_CHECKING:
    from typing import Self

# In YAML a label such as 0 is a number.
LabelName = Annotated[str, BeforeValidator(lambda name: str(name) if type(name) is int else name)]

ClassWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_CONFIG = "llmwright.training.config"
_OBJECTIVES = "llmwright.training.objectives"

# `build(request)` returns a `training.objectives.objective.Objective`.
OBJECTIVES: Registry[type[ObjectiveKind]] = Registry(
    "objective",
    {
        "causal_lm": f"{_CONFIG}:CausalLMLoss",
        "classification": f"{_CONFIG}:ClassificationLoss",
        "tagging": f"{_CONFIG}:TaggingLoss",
        "seq2seq": f"{_CONFIG}:Seq2SeqLoss",
        "vae": f"{_CONFIG}:VaeLoss",
    },
)

# `build(model)` returns the model with only those weights trainable that shall be.
ADAPTERS: Registry[type[Kind]] = Registry("adapter", {"full": f"{_CONFIG}:FullAdapter"})

# `build()` returns a `training.runtime.Runtime`: devices, processes, and what moves between them.
RUNTIMES: Registry[type[Kind]] = Registry("runtime", {"single": f"{_CONFIG}:SingleRuntime"})

# `build(groups, lr)` returns a torch optimizer; groups carry their own weight decay.
OPTIMIZERS: Registry[type[Kind]] = Registry(
    "optimizer",
    {
        "adamw": f"{_CONFIG}:AdamW",
        "adam": f"{_CONFIG}:Adam",
        "sgd": f"{_CONFIG}:SGD",
        "rmsprop": f"{_CONFIG}:RMSprop",
        "adagrad": f"{_CONFIG}:Adagrad",
        "adafactor": f"{_CONFIG}:Adafactor",
    },
)

# A kind's `factor(done)` is the share of the learning rate after warm-up.
SCHEDULES: Registry[type[ScheduleKind]] = Registry(
    "schedule",
    {
        "constant": f"{_CONFIG}:Constant",
        "linear": f"{_CONFIG}:Linear",
        "cosine": f"{_CONFIG}:Cosine",
        "step": f"{_CONFIG}:Step",
        "exponential": f"{_CONFIG}:Exponential",
        "polynomial": f"{_CONFIG}:Polynomial",
    },
)


class ObjectiveKind(Kind):
    """What is minimised.

    Attributes:
        tasks: Tasks it can serve.
        architecture: Architecture of a scratch model that it needs; empty when any will do.
        packs: Whether plain texts are joined to one stream of tokens.
    """

    tasks: ClassVar[tuple[str, ...]] = ()
    architecture: ClassVar[str] = ""
    packs: ClassVar[bool] = False


class CausalLMLoss(ObjectiveKind):
    """Predict each next token."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.causal_lm:CausalLMObjective"
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    packs: ClassVar[bool] = True

    kind: Literal["causal_lm"] = "causal_lm"
    """Name of this objective."""


class ClassificationLoss(ObjectiveKind):
    """Predict the label, or the labels, of a text."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.classification:build"
    tasks: ClassVar[tuple[str, ...]] = ("text-classification",)

    kind: Literal["classification"] = "classification"
    """Name of this objective."""


class TaggingLoss(ObjectiveKind):
    """Predict a tag for each word."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.tagging:TaggingObjective"
    tasks: ClassVar[tuple[str, ...]] = ("token-classification",)

    kind: Literal["tagging"] = "tagging"
    """Name of this objective."""


class Seq2SeqLoss(ObjectiveKind):
    """Predict each next token of the target from the input and the target so far."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.seq2seq:Seq2SeqObjective"
    tasks: ClassVar[tuple[str, ...]] = ("seq2seq",)

    kind: Literal["seq2seq"] = "seq2seq"
    """Name of this objective."""


class VaeLoss(ObjectiveKind):
    """Reconstruct a text from a latent vector: the negative evidence lower bound, per token."""

    implementation: ClassVar[str] = f"{_OBJECTIVES}.vae:VaeObjective"
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    architecture: ClassVar[str] = "vae"

    kind: Literal["vae"] = "vae"
    """Name of this objective."""
    kl_weight: float = Field(1.0, ge=0)
    """Weight of the KL divergence at the end of annealing; 1 is the evidence lower bound, less
    keeps more of the text in the latent vector."""
    kl_anneal_fraction: float = Field(0.5, ge=0, le=1)
    """Share of the run over which that weight grows linearly from 0. Growing slowly lets the
    decoder learn to use the latent vector before it is made costly."""
    free_bits: float = Field(0.0, ge=0)
    """Nats of KL divergence per latent dimension that cost nothing, averaged over the batch: a
    floor that keeps the latent vector from being ignored."""


class FullAdapter(Kind):
    """Train every weight."""

    implementation: ClassVar[str] = "llmwright.training.adapters.full:build"

    kind: Literal["full"] = "full"
    """Name of this adapter."""


class SingleRuntime(Kind):
    """One process: on the GPU where there is one, else on the processor's cores."""

    implementation: ClassVar[str] = "llmwright.training.runtime:single"

    kind: Literal["single"] = "single"
    """Name of this runtime."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU that torch can use, else the processor."""
    num_threads: int | None = Field(None, ge=1)
    """Processor threads torch uses; all cores this process may use when not given."""


class AdamW(Kind):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    implementation: ClassVar[str] = "llmwright.training.optim:adamw"

    kind: Literal["adamw"] = "adamw"
    """Name of this optimizer."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.99, ge=0, lt=1)
    """Decay of the mean of squared gradients; 0.99 follows small models quicker than 0.999."""
    eps: float = Field(1e-8, gt=0)
    """Added to the denominator, so that tiny gradients do not make huge steps."""


class Adam(Kind):
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""

    implementation: ClassVar[str] = "llmwright.training.optim:adam"

    kind: Literal["adam"] = "adam"
    """Name of this optimizer."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    eps: float = Field(1e-8, gt=0)
    """Added to the denominator, so that tiny gradients do not make huge steps."""


class SGD(Kind):
    """Stochastic gradient descent."""

    implementation: ClassVar[str] = "llmwright.training.optim:sgd"

    kind: Literal["sgd"] = "sgd"
    """Name of this optimizer."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Share of the step before that is added to each step."""
    nesterov: bool = False
    """Look ahead along the momentum; needs momentum above 0."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError(text("training.nesterov"))
        return self


class RMSprop(Kind):
    """Gradients divided by the root of their running mean square."""

    implementation: ClassVar[str] = "llmwright.training.optim:rmsprop"

    kind: Literal["rmsprop"] = "rmsprop"
    """Name of this optimizer."""
    alpha: float = Field(0.99, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Share of the step before that is added to each step."""
    eps: float = Field(1e-8, gt=0)
    """Added to the denominator."""


class Adagrad(Kind):
    """Gradients divided by the root of the sum of all their squares; for sparse features."""

    implementation: ClassVar[str] = "llmwright.training.optim:adagrad"

    kind: Literal["adagrad"] = "adagrad"
    """Name of this optimizer."""
    eps: float = Field(1e-10, gt=0)
    """Added to the denominator."""


class Adafactor(Kind):
    """Adam with factored second moments: hardly any memory of its own (Shazeer and Stern 2018)."""

    implementation: ClassVar[str] = "llmwright.training.optim:adafactor"

    kind: Literal["adafactor"] = "adafactor"
    """Name of this optimizer."""
    beta2_decay: float = Field(-0.8, le=0)
    """Exponent by which the memory of squared gradients grows with the steps."""
    clip_threshold: float = Field(1.0, ge=1)
    """Largest root mean square of one update."""


class ScheduleKind(Kind):
    """How the learning rate changes; every kind warms up linearly first."""

    warmup_steps: int | None = Field(None, ge=0)
    """Optimizer steps over which the learning rate grows linearly to its full value. When not
    given, `warmup_fraction` decides."""
    warmup_fraction: float = Field(0.03, ge=0, lt=1)
    """Share of the run used for warm-up. A little keeps the first, badly aimed steps small."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate.

        Args:
            done: How much of the run after warm-up is over, 0 to 1.
        """
        return 1.0


class Constant(ScheduleKind):
    """Always the full learning rate."""

    kind: Literal["constant"] = "constant"
    """Name of this schedule."""


class Linear(ScheduleKind):
    """A straight line down."""

    kind: Literal["linear"] = "linear"
    """Name of this schedule."""
    final_fraction: float = Field(0.0, ge=0, le=1)
    """Share of the learning rate that is left at the end."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return 1 - (1 - self.final_fraction) * done


class Cosine(ScheduleKind):
    """Half a cosine down (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    """Name of this schedule."""
    final_fraction: float = Field(0.05, ge=0, le=1)
    """Share of the learning rate that is left at the end."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * done)) / 2


class Step(ScheduleKind):
    """Down by a factor at equal distances."""

    kind: Literal["step"] = "step"
    """Name of this schedule."""
    num_drops: int = Field(2, ge=1)
    """How often the learning rate drops, at equal distances."""
    gamma: float = Field(0.1, gt=0, lt=1)
    """What it is multiplied with at each drop."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return float(self.gamma ** min(self.num_drops, int(done * (self.num_drops + 1))))


class Exponential(ScheduleKind):
    """Down by the same ratio in each step."""

    kind: Literal["exponential"] = "exponential"
    """Name of this schedule."""
    final_fraction: float = Field(0.01, gt=0, le=1)
    """Share of the learning rate that is left at the end."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return float(self.final_fraction**done)


class Polynomial(ScheduleKind):
    """A power of what is left of the run."""

    kind: Literal["polynomial"] = "polynomial"
    """Name of this schedule."""
    power: float = Field(2.0, gt=0)
    """Exponent; 1 is linear, more falls quicker at first."""
    final_fraction: float = Field(0.0, ge=0, le=1)
    """Share of the learning rate that is left at the end."""

    def factor(self, done: float) -> float:
        """Return the share of the full learning rate at ``done``."""
        return float(self.final_fraction + (1 - self.final_fraction) * (1 - done) ** self.power)


class ProbesConfig(Config):
    """Inputs whose outputs are recorded with the model, to check every later form of it."""

    count: int = Field(32, ge=4, le=64)
    """How many."""
    source: Literal["auto", "validation", "train", "generated", "file"] = "auto"
    """Where the inputs come from. They travel with the model: personal data is removed from rows.
    `auto` takes the validation split where there is one, else the training split."""
    file: Annotated[str | None, LocalPath()] = None
    """For `file` only: a JSONL file of rows in the dataset's own columns."""

    def local_files(self, root: Path) -> list[Path]:
        """Return the file, for the fingerprint."""
        return [root / self.file] if self.file else []


class TrainConfig(Config):
    """Train a model from scratch, or go on training a finished one."""

    dataset: Annotated[str | None, Input("dataset")] = None
    """The prepared dataset: an artifact id, a step's name or a folder. The newest one the project
    made when not given."""
    tokenizer: Annotated[str | None, Input("tokenizer", optional=True)] = None
    """The tokenizer: an artifact id, a step's name or a folder. When not given, a finished model
    brings its own, and a model from scratch takes the newest one the project made."""
    model: ModelSpec = ScratchModel()
    """What is trained: `scratch` (a new model), `hub` (a folder or hub id) or `step` (the model of
    an earlier step)."""
    adapter: Annotated[Kind, Choice(ADAPTERS)] = FullAdapter()
    """Which weights learn: `full` trains all of them."""
    objective: Annotated[ObjectiveKind, Choice(OBJECTIVES)] | None = None
    """What is minimised; the task's own when not given."""
    runtime: Annotated[Kind, Choice(RUNTIMES)] = SingleRuntime()
    """Where the loop runs: `single` is one process on one device, a GPU where there is one."""

    optimizer: Annotated[Kind, Choice(OPTIMIZERS)] = AdamW()
    """How gradients become steps."""
    lr: float | None = Field(None, gt=0)
    """Full learning rate. When not given, 1e-3 from scratch and 5e-5 for a finished model (with
    `sgd` 100 times that)."""
    schedule: Annotated[ScheduleKind, Choice(SCHEDULES)] = Cosine()
    """How the learning rate changes over the run."""
    weight_decay: float = Field(0.01, ge=0)
    """How strongly weights are pulled to zero; never biases and norms."""
    max_grad_norm: float | None = Field(1.0, gt=0)
    """Longest gradient; a longer one is shortened to it. `null` switches clipping off."""

    epochs: float | None = Field(None, gt=0)
    """Passes over the training split. Of all budgets that are given, the one reached first ends
    the run; 3 epochs when none is given."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps."""
    max_tokens: int | None = Field(None, ge=1)
    """Tokens read, padding not counted."""
    max_minutes: float | None = Field(None, gt=0)
    """Minutes of training. A run limited by time does not repeat exactly."""

    batch_size: int | None = Field(None, ge=1)
    """Rows (blocks, of plain text) in a batch. When neither this nor `batch_tokens` is given, 32,
    but fewer where long rows or a large vocabulary would take too much memory; what was taken is
    said."""
    batch_tokens: int | None = Field(None, ge=1)
    """Tokens in a batch, its padding included: long rows then come in smaller batches. One row
    longer than that is a batch of its own."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are summed for one optimizer step: the effect of a batch that many
    times as large, in the memory of one."""
    max_length: int | None = Field(None, ge=2)
    """Longest input in tokens; rows beyond are cut and counted. When not given, what the model can
    read, at most 1024."""
    max_target_length: int | None = Field(None, ge=2)
    """Longest target in tokens (seq2seq); as `max_length` when not given."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of a target's probability spread over all classes or tokens, against over-confidence;
    not used with several labels or by a VAE."""
    class_weights: Literal["none", "balanced"] | dict[LabelName, ClassWeight] = "none"
    """Weight of each label in the loss of classifiers and taggers: `balanced` weighs rare labels up
    (inverse frequency), a mapping gives label → weight (1 where it names none)."""

    evaluate_every_steps: int | None = Field(None, ge=1)
    """Optimizer steps between evaluations on the validation split; once per epoch, but at least
    5 and at most 20 times in a run, when not given."""
    selection: Literal["auto", "loss", "accuracy"] = "auto"
    """What the best checkpoint is chosen by on the validation split: the smallest loss or the
    largest share of right predictions (of equal ones, the smaller loss). `auto` takes accuracy for
    classifiers and taggers; a tagger's leaves out words that are O and are called O."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many evaluations without a better one; never when not given. Needs a
    validation split."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Optimizer steps between checkpoints, from which a stopped run goes on; with each evaluation
    when not given."""
    checkpoint_every_minutes: float = Field(5.0, gt=0)
    """Minutes between checkpoints where the steps between them take longer: at most this much work
    is lost."""
    log_every_steps: int = Field(10, ge=1)
    """Optimizer steps between entries of the loss history."""
    sample_prompts: list[str] = []
    """Prompts the model answers at each evaluation, to watch it learn."""

    seed: int = Field(42, ge=0)
    """Seed of first weights, order of rows and dropout: the same seed on the same machine gives the
    same weights."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Number format of the calculations; weights stay float32. `auto` takes bf16 where the hardware
    has it and it pays."""
    probes: ProbesConfig = ProbesConfig()
    """Inputs whose outputs are recorded with the model."""

    def takes_newest(self, field: str) -> bool:
        """Say no for the tokenizer of a model that brings its own."""
        return field != "tokenizer" or self.model.kind not in ("hub", "step")

    @model_validator(mode="after")
    def _probe_file_belongs_to_source(self) -> Self:
        if (self.probes.source == "file") != (self.probes.file is not None):
            raise ValueError(text("training.probe_file"))
        return self
