"""The Python API: one typed function per verb, with the settings of the config classes.

``llmwright.train(epochs=3)`` does what ``llmwright train --epochs 3`` does in a folder without a
project file. A project file is run by `run`. A test keeps signatures and config fields equal;
`DEFAULT` stands for a default that is a mapping, a list or a config. Where no consumer of events is
given, warnings go to the logger ``llmwright``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from llmwright.asking import Place as Place
from llmwright.asking import Reference as Reference
from llmwright.asking import chat as chat
from llmwright.asking import documents as documents
from llmwright.asking import embed as embed
from llmwright.asking import open_project as open_project
from llmwright.asking import plain
from llmwright.asking import predict as predict
from llmwright.asking import predict_file as predict_file
from llmwright.core import layers, pipeline
from llmwright.core.artifacts import Artifact
from llmwright.core.config import Kind, parse
from llmwright.core.events import Emit, Event, Notice
from llmwright.core.project import Project, forms_in
from llmwright.operations import OPERATIONS
from llmwright.serving.door.keys import create_key as create_key
from llmwright.serving.door.keys import list_keys as list_keys
from llmwright.serving.door.keys import revoke_key as revoke_key

if TYPE_CHECKING:
    from llmwright.compression.config import Compression
    from llmwright.data.cleaners import Cleaner
    from llmwright.data.config import SplitConfig
    from llmwright.data.records import TaskName
    from llmwright.export.config import Format
    from llmwright.inference.chat import Conversation as Conversation
    from llmwright.serving.config import GuardKind
    from llmwright.tokenization.config import SpecialTokens
    from llmwright.training.adapters.config import AdapterKind
    from llmwright.training.config import ProbesConfig, TrainConfig
    from llmwright.training.objectives.config import ObjectiveKind
    from llmwright.tuning.domains import Domain

DEFAULT: Final[Any] = object()
_LOG = logging.getLogger("llmwright")


def _log_warning(event: Event) -> None:
    """Receive events where nobody else does."""
    if isinstance(event, Notice) and event.level == "warning":
        _LOG.warning(event.text)


def run(
    project: Place = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    only: Iterable[str] = (),
    fresh: bool = False,
    consumers: Sequence[Emit] = (),
) -> dict[str, Artifact]:
    """Run a project file and return what each step made, or took from an unchanged run.

    Args:
        project: Folder of the project; the current one by default.
        overrides: Dotted keys with values, as in ``{"train.epochs": 3}``.
        only: Steps to run; all by default.
        fresh: Do the work again even if nothing changed.
        consumers: Receive the events.
    """
    opened = _overridden(project, overrides)
    consumers = consumers or [_log_warning]
    done = pipeline.run_project(opened, OPERATIONS, consumers, only, fresh)
    return {one.step: one.artifact for one in done if one.artifact is not None}


def plan(
    project: Place = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    only: Iterable[str] = (),
    measure: bool = True,
    consumers: Sequence[Emit] = (),
) -> dict[str, dict[str, Any]]:
    """Return what the training steps of a project would be, by step, before any of them runs.

    Memory, steps, tokens, time, disk, three rows with their label mask, and whether the model can
    learn to stop; docs/planning.md names each value. Steps that make the dataset and the tokenizer
    are run first, or taken from unchanged runs.

    Args:
        project: Folder of the project; the current one by default.
        overrides: Dotted keys with values, as in ``{"train.epochs": 3}``.
        only: Training steps to plan; all by default.
        measure: Make a few real steps, an evaluation and a checkpoint, to know how long they take.
        consumers: Receive the events.
    """
    from llmwright.planning.project import plans_of

    opened = _overridden(project, overrides)
    return plans_of(opened, OPERATIONS, set(only), measure, consumers or [_log_warning])


def _overridden(place: Place, overrides: Mapping[str, Any] | None) -> Project:
    """Return the project of a folder with settings laid over its file."""
    values: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        values = layers.merge(values, layers.nested(key, value), forms_in(OPERATIONS))
    opened = open_project(place)
    return Project.find(OPERATIONS, opened.root, overrides=values) if values else opened


def _make(verb: str, given: dict[str, Any]) -> Artifact:
    """Execute one operation that makes an artifact, with the arguments of its function."""
    made = _perform(verb, given)
    assert made is not None, f"{verb} makes nothing"
    return made


def _perform(verb: str, given: dict[str, Any]) -> Artifact | None:
    """Execute one operation with the arguments of its function."""
    project = open_project(given.pop("project"))
    consumers = given.pop("consumers") or [_log_warning]
    values = {name: plain(value) for name, value in given.items() if value is not DEFAULT}
    operation = OPERATIONS[verb]
    config = parse(operation.config_class(), values, verb)
    return pipeline.execute(project, operation, config, verb, consumers).artifact


def reproduce(
    reference: Reference,
    *,
    tolerance: float = 0.0,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Run again what made an artifact, compare what comes out, and return the report.

    Its metadata say whether it ``passed``, and under ``reproduction`` what was compared.

    Args:
        reference: A run, a step, an artifact or its folder, or a ``run.lock.json``.
        tolerance: Largest difference of a weight, loss, metric or output of a probe that still
            counts as the same; 0 asks for equal files.
        project: The folder that has the inputs; the current one by default.
        consumers: Receive the events.
    """
    from llmwright import reproduction

    opened = open_project(project)
    return reproduction.reproduce(
        opened, str(plain(reference)), tolerance, consumers or [_log_warning]
    )


def prepare(
    *,
    source: str | list[str] | dict[Literal["train", "validation", "test"], str | list[str]],
    format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    quoted: bool | None = None,
    header: bool | None = None,
    json_path: str | None = None,
    document: Literal["line", "paragraph", "file"] = "file",
    shape: str | None = None,
    task: TaskName | None = None,
    columns: dict[str, str] = DEFAULT,
    label_separator: str | None = None,
    label_names: list[str] = DEFAULT,
    controls: list[str] = DEFAULT,
    clean: list[Cleaner | str | dict[str, Any]] = DEFAULT,
    split: SplitConfig | dict[str, Any] = DEFAULT,
    max_rejected: float = 0.05,
    max_rows: int | None = None,
    max_record_bytes: int = 16777216,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Import files, recognise their format, clean, report and split.

    Every parameter is a field of `PrepareConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    return _make("prepare", locals())


def tokenize(
    *,
    dataset: Reference | None = None,
    kind: str = "bpe",
    vocab_size: int = 8000,
    min_frequency: int = 1,
    lowercase: bool = False,
    source: str | None = None,
    revision: str | None = None,
    framing: Literal["auto", "none", "eos", "bos_eos", "cls_sep"] = "auto",
    special: SpecialTokens | dict[str, Any] = DEFAULT,
    chat_template: str = "auto",
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Train a tokenizer on a dataset, or import and measure one.

    Every parameter is a field of `TokenizeConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    return _make("tokenize", locals())


def train(
    *,
    dataset: Reference | None = None,
    tokenizer: Reference | None = None,
    model: Kind | str | dict[str, Any] = DEFAULT,
    adapter: AdapterKind | str | dict[str, Any] = DEFAULT,
    objective: ObjectiveKind | str | dict[str, Any] | None = None,
    runtime: Kind | str | dict[str, Any] = DEFAULT,
    optimizer: Kind | str | dict[str, Any] = DEFAULT,
    lr: float | None = None,
    lr_factors: dict[str, float] = DEFAULT,
    schedule: Kind | str | dict[str, Any] = DEFAULT,
    weight_decay: float = 0.01,
    max_grad_norm: float | None = 1.0,
    on_nan: Literal["stop", "skip"] = "stop",
    on_spike: Literal["ignore", "skip", "stop"] = "ignore",
    spike_threshold: float = 10.0,
    epochs: float | None = None,
    max_steps: int | None = None,
    max_tokens: int | None = None,
    max_minutes: float | None = None,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    accumulate: int = 1,
    max_length: int | None = None,
    max_target_length: int | None = None,
    label_smoothing: float = 0.0,
    control_dropout: float = 0.1,
    styles: Mapping[str, Mapping[str, str]] = DEFAULT,
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none",
    evaluate_every_steps: int | None = None,
    selection: Literal["auto", "loss", "accuracy"] = "auto",
    patience: int | None = None,
    checkpoint_every_steps: int | None = None,
    checkpoint_every_minutes: float = 5.0,
    log_every_steps: int = 10,
    sample_prompts: list[str] = DEFAULT,
    sinks: list[Kind | str | dict[str, Any]] = DEFAULT,
    seed: int = 42,
    precision: Literal["auto", "float32", "bf16"] = "auto",
    packing: Literal["auto"] | bool = "auto",
    checkpointing: Literal["auto"] | bool = "auto",
    compile: Literal["auto"] | bool = "auto",
    kernels: Literal["auto"] | bool = "auto",
    memory_check: Literal["refuse", "warn", "off"] = "refuse",
    probes: ProbesConfig | dict[str, Any] = DEFAULT,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Train a model from scratch or fine-tune one.

    Every parameter is a field of `TrainConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    return _make("train", locals())


def tune(
    *,
    train: TrainConfig | dict[str, Any] = DEFAULT,
    space: dict[str, Domain | dict[str, Any]],
    sampler: Kind | str | dict[str, Any] = DEFAULT,
    pruner: Kind | str | dict[str, Any] = DEFAULT,
    num_trials: int | None = None,
    max_minutes: float | None = None,
    num_folds: int | None = None,
    num_parallel: int = 1,
    seed: int = 42,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Search for the settings of train that make the best model, and keep that model.

    Every parameter is a field of `TuneConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    return _make("tune", locals())


def evaluate(
    *,
    model: Reference | None = None,
    dataset: Reference | None = None,
    split: str | None = None,
    metrics: list[str] | None = None,
    gate: dict[str, str] = DEFAULT,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 42,
    max_rows: int | None = None,
    batch_size: int = 32,
    positive_label: str | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Measure a model on held-out rows, with intervals, errors and a gate.

    Every parameter is a field of `EvaluateConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    return _make("evaluate", locals())


def compress(
    *,
    model: Reference | None = None,
    kind: Compression | str | dict[str, Any] = DEFAULT,
    tolerance: float | None = None,
    min_agreement: float | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Merge an adapter into its base, and prove that it answers alike.

    Every parameter is a field of `CompressConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    return _make("compress", locals())


def export(
    *,
    model: Reference | None = None,
    format: Format | str | dict[str, Any] = DEFAULT,
    tolerance: float | None = None,
    min_agreement: float | None = None,
    timeout_seconds: float = 1800.0,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Write a model for another engine and prove that it answers alike.

    Every parameter is a field of `ExportConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    return _make("export", locals())


def verify(
    *,
    target: str | None = None,
    model: Reference | None = None,
    engine: str = "auto",
    allow_pickle: bool = False,
    served_model: str | None = None,
    api_key_variable: str = "LLMWRIGHT_API_KEY",
    tolerance: float | None = None,
    min_agreement: float | None = None,
    timeout_seconds: float = 60.0,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> Artifact:
    """Run a model's own probes on a checkpoint, an export or an address.

    Every parameter is a field of `VerifyConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    return _make("verify", locals())


def serve(
    *,
    model: Reference | None = None,
    knowledge: Mapping[str, Any] | str | None = None,
    engine: str = "auto",
    allow_pickle: bool = False,
    name: str | None = None,
    models: dict[str, Reference] = DEFAULT,
    max_adapters: int = 16,
    max_memory_bytes: int | None = None,
    keep_alive_seconds: float | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    api_key_file: Path | str | None = None,
    max_concurrency: int = 4,
    max_queue: int = 64,
    max_batch: int = 32,
    max_rows: int = 256,
    request_timeout_seconds: float = 120.0,
    client_timeout_seconds: float = 30.0,
    hang_seconds: float = 60.0,
    max_restarts: int = 3,
    max_body_bytes: int = 1000000,
    max_new_tokens: int = 4096,
    styles: Mapping[str, Mapping[str, str]] = DEFAULT,
    guards: Sequence[GuardKind | Mapping[str, Any]] = DEFAULT,
    cache_bytes: int = 0,
    cache_shared: bool = False,
    drain_seconds: float = 30.0,
    num_probes: int = 4,
    strict_probes: bool = False,
    access_log: bool = True,
    otlp_endpoint: str | None = None,
    ready_file: Path | str | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> None:
    """Answer over HTTP.

    Every parameter is a field of `ServeConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    _perform("serve", locals())
