"""From a model spec to a model that is ready to be trained for a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.core.config import Kind
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.locale import text
from llmwright.models import load
from llmwright.models.adapters import parts
from llmwright.models.config import HubModel, ScratchModel, StepModel
from llmwright.models.measure import described_count, measure
from llmwright.models.presets import shape_of

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast


def _silent(sentence: str) -> None:
    """Take a notice and say nothing."""


@dataclass(frozen=True)
class ModelRequest:
    """What a model is wanted for.

    Attributes:
        auto_class: Class of transformers that does the task (``AutoModelForCausalLM``).
        tokenizer: Its vocabulary and special tokens become the model's.
        labels: Names in the order of their ids; empty for a model that writes text.
        multi_label: Whether a text may have several labels.
        max_length: Longest sequence training will use, in tokens; 0 when not known.
        seed: Of every random weight.
        dtype: Number format of the weights.
        root: Project folder, where relative paths start.
        artifact: Folder of the model that `step` refers to.
        sequences: Returns the token ids of the training texts, for word vectors learned from them.
        notice: Receives sentences for the user.
    """

    auto_class: str
    tokenizer: PreTrainedTokenizerFast
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    max_length: int = 0
    seed: int = 42
    dtype: str = "float32"
    root: Path | None = None
    artifact: Path | None = None
    sequences: Callable[[], Iterable[np.ndarray]] = tuple
    notice: Callable[[str], None] = _silent

    @property
    def vocab_size(self) -> int:
        """Entries of the tokenizer's vocabulary, added tokens included."""
        return len(self.tokenizer)

    def token_ids(self) -> dict[str, int]:
        """Return the special tokens that configurations hold, where the tokenizer has them."""
        names = ("pad_token_id", "bos_token_id", "eos_token_id")
        found = {name: getattr(self.tokenizer, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def label_values(self) -> dict[str, Any]:
        """Return the labels as model configurations hold them; without any, one number is told."""
        tells = self.auto_class == "AutoModelForSequenceClassification"
        if not self.labels:
            return {"num_labels": 1, "problem_type": "regression"} if tells else {}
        values: dict[str, Any] = {
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: index for index, label in enumerate(self.labels)},
        }
        if tells:
            kind = "multi_label" if self.multi_label else "single_label"
            values["problem_type"] = f"{kind}_classification"
        return values

    def config_values(self) -> dict[str, Any]:
        """Return what every new configuration takes from the request."""
        return self.token_ids() | self.label_values()


def build_model(spec: Kind, request: ModelRequest) -> PreTrainedModel:
    """Return the model a spec describes, for a task, in train mode; the same for the same seed.

    Args:
        spec: One of the kinds in ``MODELS``.
        request: What it is wanted for.

    Raises:
        ConfigError: The architecture cannot do the task (``MODEL-001``) or its dimensions do not
            fit (``MODEL-002`` to ``MODEL-005``).
        InputError: A folder or hub id cannot be used, or its context is too short (``MODEL-016``).
        ResourceError: The hub cannot be reached (``TOK-017``).
    """
    import torch

    # The caller's random numbers stay as they were.
    with torch.random.fork_rng(devices=[]), load.quiet():
        torch.manual_seed(request.seed)
        model: PreTrainedModel = spec.build(request)
        match_vocabulary(model, request.tokenizer)
    _set_tokens(model, request)
    size = measure(model)
    sentence = text(
        "models.built",
        name=type(model).__name__,
        parameters=described_count(size.num_parameters),
        megabytes=f"{size.size_bytes / 1e6:.1f}",
    )
    request.notice(sentence)
    return model.train()


def from_scratch(spec: ScratchModel, request: ModelRequest) -> PreTrainedModel:
    """Return a new model with random weights.

    Raises:
        ConfigError: As `build_model`.
    """
    spec = spec.suited(request.auto_class)
    architecture = spec.architecture
    assert architecture is not None
    if request.auto_class not in architecture.auto_classes:
        able = ", ".join(architecture.auto_classes)
        raise ConfigError(
            "MODEL-001",
            where="train.model.architecture",
            name=architecture.kind,
            wanted=request.auto_class,
            able=able,
        )
    model: PreTrainedModel = architecture.build(shape_of(spec, request.max_length), request)
    return model


def from_hub(spec: HubModel, request: ModelRequest) -> PreTrainedModel:
    """Return a published or local model, with a new head where its own does not fit the labels."""
    folder = load.locate(spec.name, revision=spec.revision, root=request.root)
    return _from_folder(folder, request)


def from_step(spec: StepModel, request: ModelRequest) -> PreTrainedModel:
    """Return the model of an earlier step.

    Raises:
        ConfigError: There is no such model (``MODEL-007``).
    """
    if request.artifact is None:
        raise ConfigError("MODEL-007", where="train.model.name")
    return _from_folder(load.locate(request.artifact), request)


def _from_folder(folder: Path, request: ModelRequest) -> PreTrainedModel:
    config = load.load_config(folder)
    context = max_context(config)
    if context is not None and request.max_length > context:
        raise InputError("MODEL-016", path=folder, context=context, needed=request.max_length)
    keeps_head = _same_labels(config, request)
    for name, value in request.label_values().items():
        setattr(config, name, value)
    model, info = load.read_model(folder, config, request.auto_class, request.dtype)
    new = set(info["missing_keys"]) | {entry[0] for entry in info["mismatched_keys"]}
    whole = model.base_model is model
    inside = sorted(k for k in new if whole or k.startswith(f"{model.base_model_prefix}."))
    # A pooler is the only part of a body that a checkpoint may leave out.
    inside = [key for key in inside if ".pooler." not in key]
    if inside:
        shown = ", ".join(inside[:3])
        raise InputError("MODEL-013", path=folder, name=type(model).__name__, keys=shown)
    renewed = [] if keeps_head else _renew_outputs(model, len(request.labels))
    parts.note_new_parts(model, [*renewed, *(key.rpartition(".")[0] for key in sorted(new))])
    if new or not keeps_head:
        outputs = num_outputs(config, request)
        request.notice(text("models.new_head", outputs=outputs, path=str(folder)))
    return model


def num_outputs(config: PreTrainedConfig, request: ModelRequest) -> int:
    """Return the values that a new head answers with: labels, one number, or all tokens."""
    if request.labels:
        return len(request.labels)
    return 1 if "num_labels" in request.label_values() else int(config.vocab_size)


def _same_labels(config: PreTrainedConfig, request: ModelRequest) -> bool:
    """Say whether a checkpoint's head is for these very labels, in this order (or has none)."""
    if not request.labels:
        return True
    found = tuple(config.id2label[index] for index in sorted(config.id2label))
    return found == request.labels


def _renew_outputs(model: PreTrainedModel, num_labels: int) -> list[str]:
    """Give the layers that answer one value per label new weights, as a new model has them.

    What they knew was other labels; all else that a checkpoint brings is kept. Returns their names.
    """
    from torch import nn

    own_body = model.base_model is not model
    body = {id(part) for part in model.base_model.modules()} if own_body else set()
    renewed = []
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and part.out_features == num_labels and id(part) not in body:
            renewed.append(name)
            for weight in part.parameters():
                # Else transformers takes them for loaded and leaves them.
                weight._is_hf_initialized = False  # type: ignore[attr-defined]
            model._init_weights(part)
    return renewed


def max_context(config: PreTrainedConfig) -> int | None:
    """Return the longest sequence a model can read, in tokens, or None where nothing limits it."""
    # RoBERTa numbers its positions from the padding id on, so two rows are never used.
    offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    for name in ("max_position_embeddings", "n_positions"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value - offset
    return None


def match_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Give the model an embedding for every token; say whether it had to grow.

    Rows beyond the vocabulary are kept: published models often have some in reserve.
    """
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    if len(tokenizer) <= rows:
        return False
    model.resize_token_embeddings(len(tokenizer))
    parts.note_new_parts(model, parts.embeddings(model))
    return True


def _set_tokens(model: PreTrainedModel, request: ModelRequest) -> None:
    """Make the model pad, start and stop with the tokenizer's own tokens."""
    generation = getattr(model, "generation_config", None)
    for name, value in request.token_ids().items():
        setattr(model.config, name, value)
        present = getattr(generation, name, None)
        # A published model may stop at several tokens; the list is kept where ours is in it.
        if generation is not None and not (isinstance(present, list) and value in present):
            setattr(generation, name, value)
