"""What a model consists of: layers, embeddings, head, and which of it is new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def stacks(model: PreTrainedModel) -> list[list[str]]:
    """Return the names of the layers of each stack, in order; an encoder-decoder has two stacks."""
    found: list[str] = []
    for name, part in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(part, nn.ModuleList) and len(part) and not inside:
            found.append(name)
    return [
        [f"{name}.{index}" for index in range(len(model.get_submodule(name)))] for name in found
    ]


def embeddings(model: PreTrainedModel) -> list[str]:
    """Return the names of the token embedding and of the layer that turns vectors into tokens."""
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    ids = {id(layer) for layer in layers if layer is not None}
    return [name for name, part in model.named_modules() if id(part) in ids]


def head(model: PreTrainedModel) -> list[str]:
    """Return the names of what stands on the body to answer labels; of a language model, nothing.

    What a language model has there only serves to write tokens, and was learned with the body.
    """
    if model.get_output_embeddings() is not None or model.base_model is model:
        return []
    body = model.base_model
    return [name for name, part in model.named_children() if part is not body]


def new_parts(model: PreTrainedModel) -> list[str]:
    """Return the names of modules that no checkpoint brought: a new head, a grown vocabulary."""
    return list(getattr(model, "llmwright_new_parts", ()))


def note_new_parts(model: PreTrainedModel, names: Sequence[str]) -> None:
    """Remember more modules that no checkpoint brought."""
    model.llmwright_new_parts = sorted({*new_parts(model), *names})


def must_learn(model: PreTrainedModel) -> list[str]:
    """Return the names of modules that have to learn whatever else stays: head and new parts."""
    return holders(model, [*head(model), *new_parts(model)])


def holders(model: PreTrainedModel, names: Sequence[str]) -> list[str]:
    """Return the names of the modules that hold the weights of some modules themselves.

    A weight that is used in two places is held by the first: the output layer of a language model
    with tied embeddings is the embedding.
    """
    known = {id(weight): name for name, weight in model.named_parameters()}
    weights = [w for name in names for w in model.get_submodule(name).parameters()]
    return sorted({known[id(weight)].rpartition(".")[0] for weight in weights})


def has_weights(part: nn.Module) -> bool:
    """Say whether a module has any parameters."""
    return next(part.parameters(), None) is not None


def short_names(names: Sequence[str]) -> list[str]:
    """Return the last words of dotted names, each once; for hints."""
    return sorted({name.rpartition(".")[2] for name in names})


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Return the names of all linear layers, those of an adapter not counted."""
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, Conv1D)
    return [n for n, part in model.named_modules() if isinstance(part, kinds) and "lora_" not in n]


def linear_layers_of_stacks(model: PreTrainedModel) -> list[str]:
    """Return the names of the linear layers inside the stacks of layers."""
    inside = [f"{layer}." for stack in stacks(model) for layer in stack]
    return [n for n in linear_layers(model) if n.startswith(tuple(inside))]


def matching(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that any of some patterns fits: the whole name, or what follows a dot."""
    return [name for name in names if any(fits(pattern, name) for pattern in patterns)]


def fits(pattern: str, name: str) -> bool:
    """Say whether a pattern fits a dotted name, from its beginning or from behind any dot."""
    return any(fnmatchcase(ending, pattern) for ending in _endings(name))


def _endings(name: str) -> Iterator[str]:
    parts = name.split(".")
    for start in range(len(parts)):
        yield ".".join(parts[start:])
