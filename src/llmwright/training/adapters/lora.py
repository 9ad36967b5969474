"""LoRA: small low-rank changes of a finished model's linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from llmwright.core.errors import ConfigError, closest
from llmwright.core.locale import text
from llmwright.models.adapters import parts
from llmwright.models.adapters.attached import NAME, Attached, attached_to, mark_trainable
from llmwright.models.adapters.base import Base
from llmwright.models.adapters.lora import adapted_layers, add_lora, settings_for
from llmwright.training.adapters.adapter import AdapterRequest
from llmwright.training.adapters.config import LoraAdapter, LowRank

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build(adapter: LoraAdapter, request: AdapterRequest) -> PreTrainedModel:
    """Return the model with a LoRA adapter inside, or with the one it came with going on.

    Raises:
        ConfigError: No layer fits (``TRAIN-101``, ``TRAIN-104``), or the adapter it came with is
            another one (``TRAIN-105``).
    """
    model = request.model
    present = attached_to(model)
    if present is not None:
        go_on(adapter, present, request)
        return model
    attached = new_adapter(adapter, model, request.base())
    init = True if adapter.init == "default" else adapter.init
    add_lora(model, attached, init, request.seed)
    say(adapter, attached, request)
    return model


def new_adapter(adapter: LowRank, model: PreTrainedModel, base: Base) -> Attached:
    """Return the adapter that is to be put onto a model.

    Raises:
        ConfigError: As `build`.
    """
    whole = whole_modules(adapter, model)
    settings = settings_for(model, targets_of(adapter, model, whole), whole, **strength(adapter))
    return Attached(settings, base)


def strength(adapter: LowRank) -> dict[str, Any]:
    """Return rank, alpha and variants as PEFT names them."""
    alpha = 2.0 * adapter.rank if adapter.alpha is None else adapter.alpha
    return {
        "r": adapter.rank,
        "lora_alpha": alpha,
        "lora_dropout": adapter.dropout,
        "use_rslora": adapter.rslora,
        "use_dora": adapter.dora,
    }


def targets_of(adapter: LowRank, model: PreTrainedModel, whole: list[str]) -> list[str]:
    """Return the names of the layers that are adapted; modules trained whole are none of them.

    Raises:
        ConfigError: A pattern fits no linear layer (``TRAIN-101``), there is none to be found, or
            one shares its weights with the embeddings (``TRAIN-104``).
    """
    linear = [n for n in parts.linear_layers(model) if n not in whole]
    for pattern in adapter.targets:
        if not parts.matching([pattern], linear):
            hint = closest(pattern, parts.short_names(linear))
            where = "train.adapter.targets"
            raise ConfigError("TRAIN-101", where=where, pattern=pattern, hint=hint)
    inside = [n for n in parts.linear_layers_of_stacks(model) if n not in whole]
    found = parts.matching(adapter.targets, linear) if adapter.targets else inside
    tied = model.get_input_embeddings().weight
    shared = [name for name in found if model.get_submodule(name).weight is tied]
    if not found or shared:
        reason = text("training.tied", name=shared[0]) if shared else text("training.no_linear")
        raise ConfigError("TRAIN-104", model=type(model).__name__, reason=reason)
    return found


def whole_modules(adapter: LowRank, model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that learn whole: what has to, and what is named.

    Raises:
        ConfigError: A name fits no module (``TRAIN-101``).
    """
    names = [name for name, part in model.named_modules() if name and parts.has_weights(part)]
    for pattern in adapter.modules_to_save:
        if not parts.matching([pattern], names):
            hint = closest(pattern, parts.short_names(names))
            where = "train.adapter.modules_to_save"
            raise ConfigError("TRAIN-101", where=where, pattern=pattern, hint=hint)
    wanted = [*parts.must_learn(model), *parts.matching(adapter.modules_to_save, names)]
    return parts.holders(model, wanted)


def go_on(adapter: LoraAdapter, present: Attached, request: AdapterRequest) -> None:
    """Let the adapter that a model came with learn further.

    Raises:
        ConfigError: It is not the one that is asked for (``TRAIN-105``).
    """
    refuse_other(adapter, present)
    if adapter.init != "default":
        raise ConfigError("TRAIN-105", wanted=f"init: {adapter.init}", present="init: default")
    model = request.model
    present.settings["lora_dropout"] = adapter.dropout
    for _, layer in adapted_layers(model):
        layer.lora_dropout[NAME] = nn.Dropout(adapter.dropout) if adapter.dropout else nn.Identity()
    whole = {*present.whole, *whole_modules(adapter, model)}
    present.settings["modules_to_save"] = sorted(whole) or None
    mark_trainable(model)
    request.notice(text("training.adapter_goes_on"))
    say(adapter, present, request)


def refuse_other(adapter: LowRank, present: Attached) -> None:
    """Refuse to go on with an adapter of another shape.

    Raises:
        ConfigError: It differs in kind, rank, alpha, variant or layers (``TRAIN-105``).
    """
    wanted = {"kind": adapter.kind, **strength(adapter)}
    kind = present.type.lower()
    if present.base is not None and present.base.number_format == "nf4":
        kind = "qlora"
    found = {**present.settings, "kind": kind}
    if adapter.targets:
        targets = present.settings.get("target_modules", [])
        wanted["targets"] = adapter.targets
        fitting = parts.matching(adapter.targets, targets) == targets
        found["targets"] = adapter.targets if fitting else sorted(targets)
    different = [key for key in wanted if key != "lora_dropout" and wanted[key] != found.get(key)]
    if different:
        key = different[0]
        name = {"r": "rank", "lora_alpha": "alpha"}.get(key, key.removeprefix("use_"))
        raise ConfigError(
            "TRAIN-105", wanted=f"{name}: {wanted[key]}", present=f"{name}: {found.get(key)}"
        )


def say(adapter: LowRank, attached: Attached, request: AdapterRequest) -> None:
    """Tell which layers are adapted and which modules learn whole."""
    targets = attached.settings["target_modules"]
    names = sorted({target.rpartition(".")[2] for target in targets})
    sentence = text(
        "training.adapter_lora",
        kind=adapter.kind,
        rank=attached.settings["r"],
        count=len(targets),
        names=", ".join(names),
    )
    request.notice(sentence)
    if attached.whole:
        request.notice(text("training.adapter_whole", names=", ".join(attached.whole)))
