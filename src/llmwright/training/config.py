"""What can be asked of `train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from llmwright.core.config import Choice, Config, Input, Kind, LocalPath
from llmwright.core.locale import text
from llmwright.models.config import ModelSpec, ScratchModel
from llmwright.training.adapters.config import ADAPTERS, AdapterKind, FullAdapter
from llmwright.training.objectives.config import OBJECTIVES, ObjectiveKind
from llmwright.training.optimizers.config import OPTIMIZERS, SCHEDULES, AdamW, Cosine, ScheduleKind
from llmwright.training.runtimes.config import RUNTIMES, RuntimeKind, SingleRuntime
from llmwright.training.sinks.config import SINKS, SinkKind

if TYPE_CHECKING:
    from typing import Self

# In YAML a label such as 0 is a number.
LabelName = Annotated[str, BeforeValidator(lambda name: str(name) if type(name) is int else name)]

ClassWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


# `auto` decides by the machine and the run, and says what and why.
Switch = Literal["auto"] | bool


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
    adapter: Annotated[AdapterKind, Choice(ADAPTERS)] = FullAdapter()
    """Which weights learn: `full` trains all of them, `freeze` some, `lora` small changes of each
    layer, `qlora` those over 4-bit layers, `prompt_tuning` and `prefix_tuning` tokens before every
    text."""
    objective: Annotated[ObjectiveKind, Choice(OBJECTIVES)] | None = None
    """What is minimised; the task's own when not given."""
    runtime: Annotated[RuntimeKind, Choice(RUNTIMES)] = SingleRuntime()
    """Where the loop runs: `single` is one process on one device, a GPU where there is one;
    `torchrun` are several processes that share each batch. It does not decide the result: a run
    that was stopped goes on in another runtime."""

    optimizer: Annotated[Kind, Choice(OPTIMIZERS)] = AdamW()
    """How gradients become steps."""
    lr: float | None = Field(None, gt=0)
    """Full learning rate. When not given, 1e-3 from scratch and 5e-5 for a finished model, with
    LoRA 5e-4 and with virtual tokens 3e-2 (with `sgd` 100 times that)."""
    lr_factors: dict[str, Annotated[float, Field(gt=0)]] = {}
    """What the learning rate of some weights is multiplied with, by name: `{embeddings: 0.1}` for
    the token embeddings and the layer that turns vectors into tokens, else patterns as in
    `{"layers.0.*": 0.5}`."""
    schedule: Annotated[ScheduleKind, Choice(SCHEDULES)] = Cosine()
    """How the learning rate changes over the run."""
    weight_decay: float = Field(0.01, ge=0)
    """How strongly weights are pulled to zero; never biases and norms."""
    max_grad_norm: float | None = Field(1.0, gt=0)
    """Longest gradient; a longer one is shortened to it. `null` switches clipping off."""

    on_nan: Literal["stop", "skip"] = "stop"
    """What happens when a loss or gradient is no finite number: `stop` ends the run and names the
    rows of that step, `skip` leaves weights and optimizer as they were and goes on; skipped steps
    are counted and said. 20 skipped steps in a row end the run, too."""
    on_spike: Literal["ignore", "skip", "stop"] = "ignore"
    """What happens when the loss of a step jumps far above the last ones: nothing, or the same as
    with `on_nan`. Hardly ever needed where gradients are clipped."""
    spike_threshold: float = Field(10.0, gt=0)
    """What is a spike: a loss more than this many median absolute deviations above the median of
    the last 64 steps, from the 17th step on."""

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
    for one label per text, tags, and texts that are written. Refused elsewhere."""
    control_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the training rows without each control (`prepare.controls`), told `any` in its
    place: so a model also answers well when no style is asked for."""
    styles: dict[str, dict[str, str]] = {}
    """Styles of a chat model that its data does not teach, kept with it and asked for as
    `controls`: control → value → what the model is told as system message, as
    `{tone: {formal: Answer formally.}}`."""
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
    sinks: list[Annotated[SinkKind, Choice(SINKS)]] = []
    """Experiment trackers that also get losses, learning rate, gradient norm, measurements and
    samples: `tensorboard`, `mlflow`, `wandb`. All of them write local files; none needs an account
    or a network. They follow a run while it trains: a finished one is not written again."""

    seed: int = Field(42, ge=0)
    """Seed of first weights, order of rows and dropout: the same seed on the same machine gives the
    same weights."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Number format of the calculations; weights stay float32. `auto` takes bf16 where the hardware
    has it and it pays."""
    packing: Switch = "auto"
    """Join rows without padding instead of bringing rows of similar length together. `auto` does so
    on a GPU with variable-length attention; on a CPU it is slower. For `causal_lm` on rows; plain
    texts are always one stream."""
    checkpointing: Switch = "auto"
    """Keep few activations and compute the others again: about a third slower, much less memory for
    long inputs, the same results. `auto` does so when the run would not fit into memory
    otherwise."""
    compile: Switch = "auto"
    """Compile the model's layers (torch.compile): the first steps then take up to a minute longer,
    all others less, and results differ by rounding. `auto` does so on a CPU with a C++ compiler
    when a run is likely to last a quarter of an hour."""
    kernels: Switch = "auto"
    """Fused GPU kernels (Liger) for a model's parts; `auto` uses them where they are installed."""
    memory_check: Literal["refuse", "warn", "off"] = "refuse"
    """What happens when a step needs more memory than is available even row by row, which is found
    out before the first one: `refuse` says so and ends, `warn` goes on, `off` does not look."""
    probes: ProbesConfig = ProbesConfig()
    """Inputs whose outputs are recorded with the model."""

    def takes_newest(self, field: str) -> bool:
        """Say no for the tokenizer of a model that brings its own."""
        return field != "tokenizer" or self.model.kind not in ("hub", "step")

    def part(self) -> int:
        """Return the number of this machine among those that train together."""
        return self.runtime.machine

    def deciding(self) -> dict[str, Any]:
        """Return all settings but the runtime and the sinks."""
        return {n: v for n, v in super().deciding().items() if n not in ("runtime", "sinks")}

    @model_validator(mode="after")
    def _each_sink_once(self) -> Self:
        kinds = [sink.kind for sink in self.sinks]
        for kind in set(kinds):
            if kinds.count(kind) > 1:
                raise ValueError(text("training.sinks_twice", kind=kind))
        return self

    @model_validator(mode="after")
    def _probe_file_belongs_to_source(self) -> Self:
        if (self.probes.source == "file") != (self.probes.file is not None):
            raise ValueError(text("training.probe_file"))
        return self
