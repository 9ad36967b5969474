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

from llmwright.core import layers, pipeline, plugins
from llmwright.core.artifacts import Artifact
from llmwright.core.config import Kind, parse
from llmwright.core.errors import InputError
from llmwright.core.events import Emit, Event, Notice
from llmwright.core.project import Project, forms_in
from llmwright.operations import OPERATIONS

if TYPE_CHECKING:
    from llmwright.compression.config import Compression
    from llmwright.data.cleaners import Cleaner
    from llmwright.data.config import SplitConfig
    from llmwright.data.records import TaskName
    from llmwright.export.config import Format
    from llmwright.inference.chat import Conversation as Conversation
    from llmwright.inference.predictor import Predictor
    from llmwright.tokenization.config import SpecialTokens
    from llmwright.training.adapters.config import AdapterKind
    from llmwright.training.config import ProbesConfig, TrainConfig
    from llmwright.training.objectives.config import ObjectiveKind
    from llmwright.tuning.domains import Domain

Place = Project | Path | str | None
Reference = Artifact | Path | str

DEFAULT: Final[Any] = object()
_LOG = logging.getLogger("llmwright")


def _log_warning(event: Event) -> None:
    """Receive events where nobody else does."""
    if isinstance(event, Notice) and event.level == "warning":
        _LOG.warning(event.text)


def open_project(place: Place = None) -> Project:
    """Return the project of a folder (the current one by default), plugins loaded."""
    if isinstance(place, Project):
        project = place
    else:
        project = Project.find(OPERATIONS, Path(place) if place else None)
    plugins.load_project_plugins(project)
    return project


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
    values: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        values = layers.merge(values, layers.nested(key, value), forms_in(OPERATIONS))
    opened = open_project(project)
    if values:
        opened = Project.find(OPERATIONS, opened.root, overrides=values)
    consumers = consumers or [_log_warning]
    done = pipeline.run_project(opened, OPERATIONS, consumers, only, fresh)
    return {one.step: one.artifact for one in done if one.artifact is not None}


def _make(verb: str, given: dict[str, Any]) -> Artifact:
    """Execute one operation that makes an artifact, with the arguments of its function."""
    made = _perform(verb, given)
    assert made is not None, f"{verb} makes nothing"
    return made


def _perform(verb: str, given: dict[str, Any]) -> Artifact | None:
    """Execute one operation with the arguments of its function."""
    project = open_project(given.pop("project"))
    consumers = given.pop("consumers") or [_log_warning]
    values = {name: _plain(value) for name, value in given.items() if value is not DEFAULT}
    operation = OPERATIONS[verb]
    config = parse(operation.config_class(), values, verb)
    return pipeline.execute(project, operation, config, verb, consumers).artifact


def _plain(value: Any) -> Any:
    """Return settings in which artifacts and paths are the text that configs hold."""
    if isinstance(value, Artifact):
        return str(value.path)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def predict(
    rows: str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]],
    *,
    model: Reference | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    project: Place = None,
    **generation: Any,
) -> list[dict[str, Any]]:
    """Return a model's answers, in order.

    Args:
        rows: Texts, or mappings with the field names of the training data; one of them alone is
            one row.
        model: Model or export; the newest of the project by default.
        engine: What runs it; ``auto`` takes the one its files are for.
        batch_size: Rows that go through the model together.
        project: The folder to work in; the current one by default.
        **generation: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``.
    """
    predictor = _predictor(model, engine, project)
    several = [rows] if isinstance(rows, str | Mapping) else rows
    read = [predictor.read(row) for row in several]
    return list(predictor.predict(read, batch_size=batch_size, **generation))


def predict_file(
    source: Path | str,
    out: Path | str,
    *,
    model: Reference | None = None,
    engine: str = "auto",
    batch_size: int = 32,
    format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    quoted: bool | None = None,
    header: bool | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
    **generation: Any,
) -> dict[str, Any]:
    """Answer each row of a file; a call that was interrupted goes on where it was.

    Args:
        source: Any file that `prepare` reads.
        out: Where the answers go, ``.jsonl`` or ``.csv``, in the order of the rows.
        model: Model or export; the newest of the project by default.
        engine: What runs it; ``auto`` takes the one its files are for.
        batch_size: Rows that go through the model together.
        format: Format of the file; this and the next four are found by content when not given,
            as in `PrepareConfig`.
        encoding: Character encoding of the file.
        delimiter: Character between columns.
        quoted: Whether double quotes enclose cells.
        header: Whether the first record names the columns.
        project: The folder to work in; the current one by default.
        consumers: Receive the progress.
        **generation: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``.

    Returns:
        ``count`` of the rows in the output file, ``skipped`` of those that were there already,
        ``failed`` of those without an answer, and ``first_failure``: ``row`` and ``reason``.
    """
    from llmwright.data.config import PrepareConfig
    from llmwright.inference.predict import predict_file as answer_file

    given = {
        "format": format,
        "encoding": encoding,
        "delimiter": delimiter,
        "quoted": quoted,
        "header": header,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    reading = parse(PrepareConfig, {"source": str(source), **settings}, "predict")
    return answer_file(
        _predictor(model, engine, project),
        Path(source),
        Path(out),
        batch_size=batch_size,
        reading=reading,
        consumers=consumers,
        **generation,
    )


def chat(
    *,
    model: Reference | None = None,
    engine: str = "auto",
    system: str | None = None,
    project: Place = None,
    **generation: Any,
) -> Conversation:
    """Return a conversation with a model: ``say(text)`` yields its answer piece by piece.

    Args:
        model: Model or export; the newest of the project by default.
        engine: What runs it; ``auto`` takes the one its files are for.
        system: System prompt.
        project: The folder to work in; the current one by default.
        **generation: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``.
    """
    from llmwright.inference.chat import Conversation

    return Conversation(_predictor(model, engine, project), system=system, **generation)


def _predictor(model: Reference | None, engine: str, place: Place) -> Predictor:
    from llmwright.inference.predictor import Predictor

    project = open_project(place)
    reference = None if model is None else str(_plain(model))
    found = pipeline.find_artifact(project, "model|export", reference)
    if found is None:
        raise InputError("CORE-062", field="model", kind="model / export")
    return Predictor.open(found.path, engine)


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
        opened, str(_plain(reference)), tolerance, consumers or [_log_warning]
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
    checkpointing: bool = False,
    kernels: Literal["auto"] | bool = "auto",
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
    engine: str = "auto",
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    api_key_file: Path | str | None = None,
    max_concurrency: int = 4,
    max_queue: int = 64,
    max_batch: int = 32,
    max_rows: int = 256,
    request_timeout_seconds: float = 120.0,
    max_body_bytes: int = 1000000,
    max_new_tokens: int = 4096,
    drain_seconds: float = 30.0,
    num_probes: int = 4,
    access_log: bool = True,
    ready_file: Path | str | None = None,
    project: Place = None,
    consumers: Sequence[Emit] = (),
) -> None:
    """Answer over HTTP.

    Every parameter is a field of `ServeConfig` and described there; ``project`` is the folder
    to work in (the current one by default) and ``consumers`` receive the events.
    """
    _perform("serve", locals())
