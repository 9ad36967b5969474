"""Train some of a model's own weights; the others stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmwright.core.errors import ConfigError, closest
from llmwright.models.adapters import parts
from llmwright.training.adapters.adapter import AdapterRequest, whole_model
from llmwright.training.adapters.config import FreezeAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEFAULT_LAYERS = 2


def build(adapter: FreezeAdapter, request: AdapterRequest) -> PreTrainedModel:
    """Return the model with its last layers, named weights, embeddings and any new head trainable.

    Raises:
        ConfigError: A pattern fits no weight (``TRAIN-101``), or the model has fewer layers
            (``TRAIN-102``).
    """
    model = whole_model(request)
    names = [name for name, _ in model.named_parameters()]
    learning = set(named_weights(adapter.trainable, names))
    modules = [*parts.must_learn(model), *last_layers(adapter, model)]
    if adapter.embeddings:
        modules += parts.embeddings(model)
    # A weight used in two places has one name, but lies in both modules.
    inside = {id(w) for module in modules for w in model.get_submodule(module).parameters()}
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in learning or id(weight) in inside)
    return model


def named_weights(patterns: list[str], names: list[str]) -> list[str]:
    """Return the names of weights that patterns fit.

    Raises:
        ConfigError: A pattern fits none (``TRAIN-101``).
    """
    for pattern in patterns:
        if not parts.matching([pattern], names):
            raise ConfigError(
                "TRAIN-101",
                where="train.adapter.trainable",
                pattern=pattern,
                hint=closest(pattern, parts.short_names(names)),
            )
    return parts.matching(patterns, names)


def last_layers(adapter: FreezeAdapter, model: PreTrainedModel) -> list[str]:
    """Return the names of the last layers of each stack.

    Raises:
        ConfigError: There are fewer (``TRAIN-102``).
    """
    count = adapter.last_layers
    if count is None:
        nothing = not adapter.trainable and not adapter.embeddings
        shortest = min((len(stack) for stack in parts.stacks(model)), default=0)
        count = min(DEFAULT_LAYERS, shortest) if nothing else 0
    found: list[str] = []
    for stack in parts.stacks(model) if count else ():
        if count > len(stack):
            raise ConfigError(
                "TRAIN-102",
                where="train.adapter.last_layers",
                count=count,
                layers=len(stack),
                model=type(model).__name__,
            )
        found += stack[-count:]
    if count and not found:
        raise ConfigError(
            "TRAIN-102",
            where="train.adapter.last_layers",
            count=count,
            layers=0,
            model=type(model).__name__,
        )
    return found
