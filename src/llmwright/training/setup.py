"""From a config to everything that training needs before its first step, each choice said aloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llmwright.core import files
from llmwright.core.artifacts import Artifact
from llmwright.core.config import Kind
from llmwright.core.errors import ConfigError, InputError, closest
from llmwright.core.locale import text
from llmwright.core.project import STORE_NAME
from llmwright.core.registry import installed_plugins
from llmwright.core.runs import Run
from llmwright.data.records import Dataset, DatasetInfo, Row
from llmwright.models import load
from llmwright.models.config import HubModel, ScratchModel, StepModel
from llmwright.models.presets import shape_of
from llmwright.models.spec import ModelRequest, build_model, max_context
from llmwright.tasks.contract import CONTRACT_FILE, Contract
from llmwright.tasks.controls import ensure_controls, without_some
from llmwright.tasks.judged import served
from llmwright.tasks.make_contract import ContractRequest, make_contract, task_of
from llmwright.tasks.profile import profile_of
from llmwright.tasks.task import TASKS, Encoding, Task
from llmwright.tokenization.special import ensure_mask, ensure_pad
from llmwright.training.adapters.adapter import AdapterRequest, adapt, base_of, refuse_early
from llmwright.training.config import TrainConfig
from llmwright.training.data import examples
from llmwright.training.data.cache import TokenCache
from llmwright.training.data.examples import Examples, OnProgress
from llmwright.training.following.probing import ProbeInputs, ProbeRequest, choose_probes
from llmwright.training.objectives.config import BY_ROW_TYPE, OBJECTIVES, ObjectiveKind

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# More is asked for by name: attention's cost grows with the square of the length.
MAX_DEFAULT_LENGTH = 1024
# Long enough for any row: lengths are measured before the model's own limit is known.
UNLIMITED = 1 << 40


@dataclass(frozen=True)
class Problem:
    """What is to be learned.

    Attributes:
        dataset: The prepared rows.
        info: What they are to the finished model: its task, and the rows it is asked.
        task: That task.
        encoding: How the rows become examples.
        objective: What is minimised.
        spec: Where the model comes from.
        packs: Whether plain texts are joined to one stream.
        inputs: Artifacts by dotted field.
    """

    dataset: Dataset
    info: DatasetInfo
    task: Task
    encoding: Encoding
    objective: ObjectiveKind
    spec: Kind
    packs: bool
    inputs: Mapping[str, Artifact]


@dataclass(frozen=True)
class Material:
    """Everything made from data: ready to be learned.

    Attributes:
        tokenizer: The model's.
        contract: Lengths, labels, special tokens, profile; of the finished model.
        model: In train mode.
        train: Training split.
        validation: Validation split; None when the dataset has none.
        probes: What the finished model is asked.
    """

    tokenizer: PreTrainedTokenizerFast
    contract: Contract
    model: PreTrainedModel
    train: Examples
    validation: Examples | None
    probes: ProbeInputs


def define(config: TrainConfig, inputs: Mapping[str, Artifact], run: Run) -> Problem:
    """Return what is to be learned, with defaults put in.

    Raises:
        InputError: The dataset has no training rows (``TRAIN-001``).
        ConfigError: The objective does not suit the task (``TRAIN-003``), prompts are given to a
            task that writes nothing (``TRAIN-013``), an option needs a validation split that does
            not exist (``TRAIN-017``), or rows have styles and nothing is written (``TRAIN-200``).
    """
    dataset = Dataset.open(inputs["dataset"].path)
    if "train" not in dataset.splits:
        raise InputError("TRAIN-001", path=dataset.path)
    kind, info, task = learned(config, dataset.info)
    if config.sample_prompts and not task.generates:
        raise ConfigError("TRAIN-013", task=task.name)
    if config.selection == "accuracy" and not task.judges:
        raise ConfigError("TASK-023", where="train.selection", task=task.name)
    if "validation" not in dataset.splits:
        refuse_without_validation(config)
    spec = config.model
    if isinstance(spec, ScratchModel) and spec.architecture is None:
        spec = spec.suited(task.auto_class, kind.architecture)
        assert spec.architecture is not None
        run.notice(text("training.default_model", name=spec.architecture.kind, size=spec.size))
    if isinstance(spec, HubModel):
        spec = load.pinned(spec, run.root)
    kind = kind.pinned(partial(load.pinned, root=run.root))
    refuse_early(config.adapter, spec)
    info = continued(info, earlier_contract(spec, inputs, run.root), task, run)
    # In one stream a text's controls would belong to others too.
    packs = dataset.info.row_type == "text" and kind.packs and not info.controls
    return Problem(dataset, info, task, kind.encoding(task), kind, spec, packs, inputs)


def learned(config: TrainConfig, info: DatasetInfo) -> tuple[ObjectiveKind, DatasetInfo, Task]:
    """Return the objective, what the rows are for it, and the task of the finished model.

    Raises:
        ConfigError: The objective does not suit the task (``TRAIN-003``) or the rows
            (``TRAIN-020``), or they have styles and nothing is written (``TRAIN-200``).
    """
    kind = config.objective or _default_objective(info)
    _refuse_unsuited(kind, info)
    info = served(info, kind.makes)
    task = task_of(info)
    if info.controls and not task.generates:
        names = ", ".join(info.controls)
        raise ConfigError("TRAIN-200", objective=kind.kind, controls=names)
    return kind, info, task


def earlier_contract(spec: Kind, inputs: Mapping[str, Artifact], root: Path) -> Contract | None:
    """Return the contract of the model that training begins with; None where it has none."""
    if isinstance(spec, StepModel) and "model.name" in inputs:
        folder = inputs["model.name"].path
    elif isinstance(spec, HubModel):
        folder = load.locate(spec.name, revision=spec.revision, root=root)
    else:
        return None
    return Contract.open(folder) if (folder / CONTRACT_FILE).is_file() else None


def continued(info: DatasetInfo, earlier: Contract | None, task: Task, run: Run) -> DatasetInfo:
    """Return what rows are to a model that goes on learning.

    Its styles stay, new ones follow; and its output stays the number that it was.
    """
    if earlier is None:
        return info
    changes: dict[str, Any] = {}
    if task.generates and (known := earlier.controls):
        run.notice(text("training.kept_controls", names=", ".join(known)))
        new = info.controls
        changes["controls"] = {
            name: list(dict.fromkeys([*known.get(name, []), *new.get(name, [])]))
            for name in [*known, *new]
        }
    if earlier.task == task.name and earlier.numbers and info.numbers:
        unit = earlier.numbers
        changes["numbers"] = info.numbers.model_copy(update={"mean": unit.mean, "std": unit.std})
        mean, std = f"{unit.mean:g}", f"{unit.std:g}"
        run.notice(text("training.kept_numbers", mean=mean, std=std))
    return info.model_copy(update=changes)


def styles_of(
    config: TrainConfig, problem: Problem, inputs: Mapping[str, Artifact], run: Run
) -> dict[str, dict[str, str]]:
    """Return what a chat model is told about each style: its earlier ones and the config's.

    Raises:
        ConfigError: There are styles and nothing that could be told them (``TRAIN-202``).
    """
    chats = problem.task.generates and problem.info.row_type == "messages"
    if config.styles and not chats:
        raise ConfigError("TRAIN-202", where="train.styles", task=problem.task.name)
    earlier = earlier_contract(problem.spec, inputs, run.root) if chats else None
    known = earlier.styles if earlier else {}
    return {
        name: {**known.get(name, {}), **config.styles.get(name, {})}
        for name in [*known, *config.styles]
    }


def _default_objective(info: DatasetInfo) -> ObjectiveKind:
    """Return what rows like these are learned by when nobody says."""
    name = BY_ROW_TYPE.get(info.row_type) or TASKS.get(info.task).objective
    return OBJECTIVES.get(name).model_validate({})


def _refuse_unsuited(kind: ObjectiveKind, info: DatasetInfo) -> None:
    """Refuse an objective that cannot learn from a dataset.

    Raises:
        ConfigError: It does not suit the task (``TRAIN-003``) or the rows (``TRAIN-020``).
    """
    kinds = {name: OBJECTIVES.get(name) for name in OBJECTIVES.names()}
    able = [name for name, other in kinds.items() if other.learns_from(info)]
    if info.task not in kind.tasks:
        hint = closest(kind.kind, able)
        raise ConfigError("TRAIN-003", objective=kind.kind, task=info.task, hint=hint)
    if not kind.learns_from(info):
        raise ConfigError(
            "TRAIN-020",
            objective=kind.kind,
            row_type=info.row_type,
            wanted=", ".join(kind.row_types or TASKS.get(info.task).row_types),
            able=", ".join(able),
        )


def refuse_without_validation(config: TrainConfig) -> None:
    """Refuse what a validation split is needed for, and there is none.

    Raises:
        ConfigError: It was asked for (``TRAIN-017``).
    """
    asked = {
        "patience": config.patience is not None,
        "selection": config.selection != "auto",
        "probes.source: validation": config.probes.source == "validation",
    }
    for option, given in asked.items():
        if given:
            raise ConfigError("TRAIN-017", option=option)


def choose_tokenizer(
    config: TrainConfig, problem: Problem, inputs: Mapping[str, Artifact], run: Run
) -> PreTrainedTokenizerFast:
    """Return the tokenizer: the given one, else a finished model's own, else the project's newest.

    Raises:
        InputError: There is none (``TRAIN-002``).
    """
    spec = problem.spec
    if isinstance(spec, HubModel) and config.tokenizer is None:
        folder = load.locate(spec.name, revision=spec.revision, root=run.root)
        tokenizer = load.load_tokenizer(folder)
    elif isinstance(spec, StepModel) and config.tokenizer is None and "model.name" in inputs:
        tokenizer = load.load_tokenizer(inputs["model.name"].path)
    elif "tokenizer" in inputs:
        tokenizer = load.load_tokenizer(inputs["tokenizer"].path)
    else:
        raise InputError("TRAIN-002")
    ensure_pad(tokenizer)
    if problem.task.masks and ensure_mask(tokenizer):
        run.notice(text("training.new_mask", mask=tokenizer.mask_token))
    if added := ensure_controls(tokenizer, problem.info.controls):
        names = ", ".join(problem.info.controls)
        run.notice(text("training.new_controls", count=added, names=names))
    return tokenizer


def prepare(
    config: TrainConfig, problem: Problem, inputs: Mapping[str, Artifact], run: Run
) -> Material:
    """Return model and examples that fit each other, and probes that can be encoded.

    Rows are encoded once without limit; their lengths decide the limits, the limits the model's
    context, and only rows beyond them are encoded again.

    Raises:
        InputError, ConfigError: Rows, tokenizer and model do not go together.
    """
    dataset, encoding = problem.dataset, problem.encoding
    styles = styles_of(config, problem, inputs, run)
    tokenizer = choose_tokenizer(config, problem, inputs, run)
    request = ContractRequest(problem.info, tokenizer, None, 0, UNLIMITED, UNLIMITED)
    rows: Sequence[Row] = dataset.view("train")
    if dataset.info.controls:
        rows = without_some(rows, config.control_dropout, config.seed)
    first, packs = make_contract(request), problem.packs
    cache = token_cache(config, problem, tokenizer, run)
    train = examples.encode_rows(
        rows, encoding, tokenizer, first, "train", packs, cache, progress_of(run, "train")
    )
    lengths = choose_lengths(config, problem, train, inputs, run)
    # The begin token is hardly ever seen where texts are longer than what is read at once.
    long_texts = packs and train.mean_length > lengths[0]
    request = replace(
        request, max_length=lengths[0], max_target_length=lengths[1], long_texts=long_texts
    )
    longest = max(lengths) + config.adapter.context_taken()
    wanted = model_request(config, problem, tokenizer, longest, inputs, run)
    texts = train.examples
    wanted = replace(wanted, sequences=lambda: (example.input_ids_T for example in texts))
    model = build_model(problem.spec, wanted)
    request = replace(request, model_config=model.config, num_parameters=model.num_parameters())
    contract = make_contract(request)
    if first.begins_with_bos and long_texts:
        train = examples.without_begin(train, first.special_tokens["bos"], contract, "train", cache)
    elif not packs:
        train = examples.cut_again(train, encoding, tokenizer, contract, "train", cache)
    train = replace(train, examples=encoding.finish(train.examples, contract))
    examples.report(train, "train", contract, run.notice)
    if warning := problem.objective.warning(rows):
        run.notice(warning, "warning")
    profile = profile_of(problem.info, rows, train.examples, tokenizer)
    model = adapt(
        config.adapter,
        adapter_request(config, problem, model, tokenizer, contract, inputs, run),
    )
    facts = {"profile": profile, "num_parameters": model.num_parameters(), "styles": styles}
    contract = contract.model_copy(update=facts)
    validation = encode_validation(problem, tokenizer, contract, cache, run)
    splits = {"train": train.rows} | ({"validation": validation.rows} if validation else {})
    probes = choose_probes(
        ProbeRequest(
            config.probes, problem.task, tokenizer, contract, splits, run.root, config.seed
        )
    )
    return Material(tokenizer, contract, model, train, validation, probes)


def adapter_request(
    config: TrainConfig,
    problem: Problem,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    contract: Contract,
    inputs: Mapping[str, Artifact],
    run: Run,
) -> AdapterRequest:
    """Return what the adapter is made from."""
    return AdapterRequest(
        model=model,
        tokenizer=tokenizer,
        contract=contract,
        objective=problem.objective.kind,
        spec=problem.spec,
        base=lambda: base_of(problem.spec, inputs, run.root),
        seed=config.seed,
        notice=run.notice,
    )


def progress_of(run: Run, split: str) -> OnProgress:
    """Return what reports how many rows of a split are encoded."""
    return lambda done, total: run.progress(f"encode_{split}", done, total, "rows")


def token_cache(
    config: TrainConfig, problem: Problem, tokenizer: PreTrainedTokenizerFast, run: Run
) -> TokenCache:
    """Return where the dataset's encoded splits are kept; each use of it is said."""

    def say(split: str, size_bytes: int, new: bool) -> None:
        key = "training.tokens_written" if new else "training.tokens_read"
        run.notice(text(key, split=split, megabytes=f"{size_bytes / 1e6:.1f}"))

    # The project's, where this run has a store of its own, as a trial of a search.
    folder = run.root / STORE_NAME / "cache" / "tokens"
    # Plugins may segment texts, or encode rows.
    own = {path.name: files.sha256_file(path) for path in sorted(run.root.glob("plugins/*.py"))}
    rows = {"dataset": problem.inputs["dataset"].id, **own, **installed_plugins()}
    if problem.dataset.info.controls:
        rows |= {"control_dropout": str(config.control_dropout), "seed": str(config.seed)}
    return TokenCache.of(folder, rows, tokenizer, problem.encoding, say)


def encode_validation(
    problem: Problem,
    tokenizer: PreTrainedTokenizerFast,
    contract: Contract,
    cache: TokenCache,
    run: Run,
) -> Examples | None:
    """Return the validation split; None when the dataset has none, which is said."""
    dataset, encoding = problem.dataset, problem.encoding
    if "validation" not in dataset.splits:
        run.notice(text("training.no_validation"), "warning")
        return None
    rows = dataset.view("validation")
    report = progress_of(run, "validation")
    if problem.packs or encoding.in_windows:
        return examples.encode_windows(
            rows, encoding, tokenizer, contract, "validation", cache, report
        )
    found = examples.encode_rows(
        rows, encoding, tokenizer, contract, "validation", False, cache, report
    )
    found = replace(found, examples=encoding.finish(found.examples, contract))
    examples.report(found, "validation", contract, run.notice)
    return found


def choose_lengths(
    config: TrainConfig,
    problem: Problem,
    train: Examples,
    inputs: Mapping[str, Artifact],
    run: Run,
) -> tuple[int, int]:
    """Return the longest input and target in tokens: as asked, else what the model can read.

    A model from scratch is made to read the longest row, up to 1024 tokens.

    Raises:
        ConfigError: Virtual tokens leave no room for any (``TRAIN-110``).
    """
    encoding = problem.encoding
    longest = max(encoding.input_length(example) for example in train.examples)
    target = max(encoding.target_length(example) for example in train.examples)
    needed = 0 if problem.packs else min(max(longest, target), MAX_DEFAULT_LENGTH)
    taken = config.adapter.context_taken()
    context = _context(problem.spec, needed, inputs, run)
    limit = min(context - taken, MAX_DEFAULT_LENGTH)
    if limit < 2:
        raise ConfigError("TRAIN-110", adapter=config.adapter.kind, taken=taken, context=context)
    length = config.max_length or limit
    target_length = config.max_target_length or (length if config.max_length else limit)
    run.notice(text("training.lengths", max_length=length, longest=longest))
    return length, target_length if target else length


def _context(spec: Kind, needed: int, inputs: Mapping[str, Artifact], run: Run) -> int:
    """Return the tokens a model can read; what is needed where nothing says so."""
    if isinstance(spec, ScratchModel):
        return spec.context or max(shape_of(spec).context, needed)
    context: int | None = None
    if isinstance(spec, HubModel):
        folder = load.locate(spec.name, revision=spec.revision, root=run.root)
        context = max_context(load.load_config(folder))
    elif isinstance(spec, StepModel) and "model.name" in inputs:
        context = max_context(load.load_config(inputs["model.name"].path))
    return context or needed or MAX_DEFAULT_LENGTH


def model_request(
    config: TrainConfig,
    problem: Problem,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    inputs: Mapping[str, Artifact],
    run: Run,
) -> ModelRequest:
    """Return what the model is wanted for."""
    info = problem.info
    return ModelRequest(
        auto_class=problem.task.auto_class,
        tokenizer=tokenizer,
        labels=tuple(info.labels),
        multi_label=info.multi_label,
        max_length=max_length,
        seed=config.seed,
        root=run.root,
        artifact=inputs["model.name"].path if "model.name" in inputs else None,
        notice=run.notice,
    )
