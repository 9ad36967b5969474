"""Merging: the adapter's effect goes into the weights of its base, and the adapter is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmwright.compression.compress import CompressionRequest
from llmwright.compression.config import Merge
from llmwright.core.errors import InputError
from llmwright.core.locale import text
from llmwright.inference.engines.opening import open_tokenizer
from llmwright.inference.engines.torch_engine import TorchEngine
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import Check, compare
from llmwright.models import load
from llmwright.models.adapters.attached import attached_to
from llmwright.models.adapters.base import Base, is_adapter
from llmwright.models.adapters.put import merge as merge_adapter
from llmwright.tasks.task import TASKS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def merge(kind: Merge, request: CompressionRequest) -> list[Check]:
    """Write the merged model and return how it differs from the base: in weights and in answers.

    Raises:
        InputError: The model has no adapter (``COMPRESS-001``), or one that changes no weights
            (``MODEL-056``); the base is missing or another one (``MODEL-051``, ``MODEL-052``).
    """
    if not is_adapter(request.source):
        raise InputError("COMPRESS-001", path=request.source)
    model = load.load_model(request.source, task=auto_class(request))
    adapter = attached_to(model)
    assert adapter is not None
    request.run.notice(text("compression.merges", base=str(adapter.base)))
    changed = merge_adapter(model)
    load.save_model(model, request.target)
    checks = [Check("weights_changed", changed, 1, changed >= 1)]
    difference = base_difference(request)
    if difference is not None:
        checks.append(Check("base_difference", difference, 0.0, difference > 0))
    return checks


def auto_class(request: CompressionRequest) -> str:
    """Return the class that the model's task asks for."""
    return TASKS.get(request.contract.task).auto_class


def base_difference(request: CompressionRequest) -> float | None:
    """Return how far the base alone is from the probes; None where it cannot do the task."""
    base = base_alone(request)
    if base is None:
        return None
    engine = TorchEngine(base, request.source, request.contract)
    tokenizer = open_tokenizer(request.source)
    table = compare(Predictor(request.contract, tokenizer, engine), request.probes)
    found = table.value("logit_difference")
    return float(table.value("log_prob_difference") if found is None else found)


def base_alone(request: CompressionRequest) -> PreTrainedModel | None:
    """Return the base without the adapter; None where it lacks a head or a part of one."""
    folder = load.base_folder(Base.open(request.source), request.source)
    config = load.load_config(request.source)
    model, info = load.read_weights(folder, config, auto_class(request))
    return None if info["missing_keys"] or info["mismatched_keys"] else model
