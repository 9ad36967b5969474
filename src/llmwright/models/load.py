"""Read a finished model: a local folder or a hub id, safetensors only, never its code."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.core.errors import ConfigError, InputError, LLMwrightError, closest
from llmwright.models.adapters.base import Base, is_adapter
from llmwright.models.config import MODEL_TYPES, HubModel
from llmwright.models.pickled import may_unpickle
from llmwright.tokenization import hub
from llmwright.tokenization.load import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = [
    "AUTO_CLASSES",
    "load_config",
    "load_model",
    "load_tokenizer",
    "locate",
    "pinned",
    "save_model",
]

# The classes that tasks ask for; "AutoModel" is the bare network without a head.
AUTO_CLASSES = (
    "AutoModelForCausalLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoModelForSeq2SeqLM",
    "AutoModelForMaskedLM",
    "AutoModel",
)
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

# Hub id and commit → its folder: a commit never changes, so the hub is asked once.
_PINNED: dict[tuple[str, str | None], Path] = {}


def locate(source: str | Path, *, revision: str | None = None, root: Path | None = None) -> Path:
    """Return the local folder with a model's files, downloaded when needed.

    Args:
        source: A folder, or a hub id.
        revision: Branch, tag or commit of a hub id.
        root: Where a relative path starts; the current folder when not given.

    Raises:
        InputError: No such folder (``TOK-010``) or hub id (``TOK-015``, ``TOK-016``), or no
            config.json in it (``MODEL-010``).
        ResourceError: The hub cannot be reached (``TOK-017``).
    """
    folder = _PINNED.get((str(source), revision)) or hub.find_local(source, root)
    folder = folder or hub.fetch(str(source), revision)
    if not (folder / "config.json").is_file():
        raise InputError("MODEL-010", path=folder)
    return folder


def pinned(spec: HubModel, root: Path | None = None) -> HubModel:
    """Return a hub model with its branch or tag replaced by the commit that it stands for now.

    Downloads it when needed; without network, the commit that was downloaded before. A local
    folder stays as it is.

    Args:
        spec: The model.
        root: Where a relative path starts.

    Raises:
        InputError, ResourceError: As `locate`.
    """
    if hub.find_local(spec.name, root) is not None:
        return spec
    folder = locate(spec.name, revision=spec.revision)
    _PINNED[spec.name, folder.name] = folder
    return spec.model_copy(update={"revision": folder.name})


def load_config(folder: Path) -> PreTrainedConfig:
    """Return a model folder's configuration; its classes are registered on the way.

    Raises:
        InputError: The file is damaged (``MODEL-011``), or its model needs code from its own
            repository or from a plugin that is not there (``MODEL-014``).
    """
    from transformers import AutoConfig

    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = str(values.get("model_type", ""))
    except (ValueError, AttributeError) as error:
        raise InputError("MODEL-011", path=folder / "config.json", reason=str(error)) from error
    if model_type in MODEL_TYPES:
        MODEL_TYPES.get(model_type)()
    try:
        # False, not None: None would ask on the terminal whether to run the repository's code.
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError) as error:
        raise InputError("MODEL-014", path=folder, model_type=model_type or "-") from error


def load_model(
    source: str | Path,
    *,
    task: str | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    root: Path | None = None,
) -> PreTrainedModel:
    """Return a finished model in eval mode, with every weight from its files.

    An adapter's folder gives the adapter on its base, which is found and compared with the one it
    was trained on.

    Args:
        source: A folder, or a hub id.
        task: Auto class to load it as (``AutoModelForCausalLM``); the class it was saved with when
            not given. ``AutoModel`` comes without a pooler.
        dtype: float32, bfloat16 or float16.
        revision: Branch, tag or commit of a hub id.
        root: Where a relative path starts; the current folder when not given.

    Raises:
        ConfigError: ``task`` is no such class (``MODEL-006``).
        InputError: As `locate` and `load_config`; no safetensors (``MODEL-012``); damaged weights
            (``MODEL-011``), or none that are numbers (``MODEL-061``); weights that the class needs
            are missing (``MODEL-013``); a class the model cannot have (``MODEL-015``); an
            adapter or its base as `read_model` says.
        ResourceError: The hub cannot be reached (``TOK-017``).
    """
    folder = locate(source, revision=revision, root=root)
    config = load_config(folder)
    model, info = read_model(folder, config, task or saved_class(config), dtype)
    missing = sorted(info["missing_keys"]) + sorted(str(k) for k in info["mismatched_keys"])
    if task == "AutoModel" and getattr(model, "pooler", None) is not None:
        # What is asked of the bare network is its tokens' vectors; many files lack the pooler.
        model.pooler = None
        missing = [key for key in missing if not key.startswith("pooler.")]
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise InputError("MODEL-013", path=folder, name=type(model).__name__, keys=shown)
    refuse_no_numbers(model, folder)
    return model.eval()


def refuse_no_numbers(model: PreTrainedModel, folder: Path) -> None:
    """Check that every weight is a number: one that is none spoils every answer without a word.

    Raises:
        InputError: Some are "not a number" or infinite (``MODEL-061``).
    """
    import torch

    # A sum is none as soon as one weight is none, and needs no copy of the weights.
    wrong = [
        name
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and not weight.sum(dtype=torch.float32).isfinite()
    ]
    if wrong:
        shown = ", ".join(wrong[:3]) + (" …" if len(wrong) > 3 else "")
        raise InputError("MODEL-061", path=folder, keys=shown)


def saved_class(config: PreTrainedConfig) -> str:
    """Return the Auto class a model was saved with; ``AutoModel`` when it is unknown."""
    import transformers

    names = config.architectures or []
    for auto in AUTO_CLASSES:
        mapping = getattr(transformers, auto)._model_mapping
        found = mapping.get(type(config), None)
        if found is not None and found.__name__ in names:
            return auto
    return "AutoModel"


def read_model(
    folder: Path, config: PreTrainedConfig, auto_class: str, dtype: str = "float32"
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a whole model, or an adapter on its base, and which weights no file brought.

    Raises:
        ConfigError, InputError: As `read_weights`; the adapter is damaged (``MODEL-050``), its
            base is missing (``MODEL-051``) or another one (``MODEL-052``), or does not fit
            (``MODEL-053``).
    """
    if not is_adapter(folder):
        return read_weights(folder, config, auto_class, dtype)
    from llmwright.models.adapters import attached
    from llmwright.models.adapters.put import put_on

    adapter, tensors = attached.read(folder)
    assert adapter.base is not None
    below = base_folder(adapter.base, folder)
    adapter.base.check(folder, below)
    model, info = read_weights(below, config, auto_class, dtype)
    put_on(model, adapter)
    filled = attached.fill(model, tensors, folder)
    info["missing_keys"] = set(info["missing_keys"]) - filled
    info["mismatched_keys"] = {e for e in info["mismatched_keys"] if e[0] not in filled}
    return model, info


def base_folder(base: Base, adapter: Path) -> Path:
    """Return the folder with an adapter's base.

    Args:
        base: What it is.
        adapter: The adapter's folder.

    Raises:
        InputError: It is not there (``MODEL-051``).
    """
    reason = ""
    if base.kind == "hub":
        try:
            return locate(base.name, revision=base.revision)
        except LLMwrightError as error:
            reason = error.message
    for folder in base.candidates(adapter):
        if (folder / "config.json").is_file():
            return folder
    raise InputError("MODEL-051", path=adapter, base=str(base), reason=reason)


def read_weights(
    folder: Path, config: PreTrainedConfig, auto_class: str, dtype: str = "float32"
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a model with its weights, and which of them were missing, unused or of another shape.

    Raises:
        ConfigError, InputError: As `load_model`, but missing weights are left to the caller.
    """
    import torch
    import transformers

    from llmwright.models.presets import attention_for

    if auto_class not in AUTO_CLASSES:
        raise ConfigError("MODEL-006", name=auto_class, hint=closest(auto_class, AUTO_CLASSES))
    safe = any((folder / name).is_file() for name in WEIGHTS)
    if not safe and not may_unpickle(folder):
        raise InputError("MODEL-012", path=folder)
    auto = getattr(transformers, auto_class)
    if type(config) not in auto._model_mapping:
        raise InputError("MODEL-015", path=folder, model_type=config.model_type, name=auto_class)
    try:
        with quiet():
            model, info = auto.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                attn_implementation=attention_for(config),
                # Of a pickle transformers reads tensors only (`torch.load` with `weights_only`).
                use_safetensors=safe,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                trust_remote_code=False,
                local_files_only=True,
            )
    except Exception as error:  # safetensors raises its own class; what matters is the file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError("MODEL-011", path=folder, reason=reason) from error
    return model, info


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing progress bars and notes; what matters is checked by us."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's configuration and weights (safetensors) into a folder, in silence."""
    with quiet():
        model.save_pretrained(folder)
