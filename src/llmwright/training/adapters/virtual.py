"""Prompt and prefix tuning: only tokens that stand before every text learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.models.adapters.attached import Attached, attached_to, mark_trainable
from llmwright.models.adapters.virtual import add_virtual_tokens, begin_with, settings_for
from llmwright.training.adapters.adapter import AdapterRequest
from llmwright.training.adapters.config import VirtualAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build(adapter: VirtualAdapter, request: AdapterRequest) -> PreTrainedModel:
    """Return the model with virtual tokens, new ones or those it came with.

    Raises:
        ConfigError: The model cannot have them (``MODEL-054``), or came with another adapter
            (``TRAIN-105``).
    """
    model = request.model
    kind, count = adapter.kind.upper(), adapter.num_virtual_tokens
    present = attached_to(model)
    if present is None:
        attached = Attached(settings_for(model, kind, count), None)
        add_virtual_tokens(model, attached)
        attached.base = request.base()
        begin_with(model, first_ids(adapter, request))
    else:
        found = (present.type, present.settings.get("num_virtual_tokens"))
        if found != (kind, count):
            wanted = f"{adapter.kind}: {count}"
            raise ConfigError(
                "TRAIN-105", wanted=wanted, present=f"{found[0].lower()}: {found[1] or '-'}"
            )
        mark_trainable(model)
        request.notice(text("training.adapter_goes_on"))
    request.notice(text("training.adapter_virtual", count=count))
    return model


def first_ids(adapter: VirtualAdapter, request: AdapterRequest) -> Tensor:
    """Return the ids of the real tokens that the virtual ones begin as."""
    tokenizer, count = request.tokenizer, adapter.num_virtual_tokens
    if adapter.init_text is not None:
        ids = tokenizer(adapter.init_text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ConfigError("TRAIN-108", init_text=adapter.init_text)
        return torch.tensor((ids * -(-count // len(ids)))[:count])
    special = set(tokenizer.all_special_ids)
    usable = torch.tensor([i for i in range(len(tokenizer)) if i not in special])
    generator = torch.Generator().manual_seed(request.seed)
    return usable[torch.randint(len(usable), (count,), generator=generator)]
