"""Virtual tokens before every text: vectors that are learned while the model stays as it is.

Prompt tuning (Lester et al. 2021) learns the embeddings of tokens that nobody typed; prefix tuning
(Li and Liang 2021) learns the keys and values that such tokens would have in each layer. The model
becomes a subclass of its own class whose `forward` puts them in front and cuts their outputs off,
so whoever calls it sees logits of the text alone.

Shapes: B rows, T tokens, P virtual tokens, D hidden size, L layers, H key-value heads, E their
size, V vocabulary.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmwright.core.errors import ConfigError
from llmwright.models.adapters.attached import Attached, Settings, mark_trainable, note

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What may be said to a model beside its tokens. Packed rows, for one, would need a prefix each.
KNOWN = ("use_cache", "logits_to_keep", "return_dict")
SAME = 1e-3


def settings_for(model: PreTrainedModel, kind: str, count: int) -> Settings:
    """Return what ``adapter_config.json`` says of virtual tokens.

    Args:
        model: Gets them.
        kind: ``PROMPT_TUNING`` or ``PREFIX_TUNING``.
        count: How many.

    Raises:
        ConfigError: The model cannot have them (``MODEL-054``).
    """
    num_layers, num_heads, size = cache_shape(model)
    token_dim = num_heads * size
    if kind == "PROMPT_TUNING":
        token_dim = model.get_input_embeddings().weight.shape[1]
    return {
        "peft_type": kind,
        "task_type": "CAUSAL_LM",
        "num_virtual_tokens": count,
        "token_dim": token_dim,
        "num_transformer_submodules": 1,
        "num_attention_heads": num_heads,
        "num_layers": num_layers,
        "inference_mode": True,
    }


def cache_shape(model: PreTrainedModel) -> tuple[int, int, int]:
    """Return layers, key-value heads and size of a head of a decoder.

    Raises:
        ConfigError: It is no decoder with a key-value cache alike in all layers (``MODEL-054``).
    """
    known = inspect.signature(model.forward).parameters
    writes = type(model).__name__.endswith("ForCausalLM")
    if not writes or not {"past_key_values", "inputs_embeds"} <= set(known):
        raise ConfigError("MODEL-054", model=type(model).__name__)
    past = getattr(_run(model, use_cache=True), "past_key_values", None)
    layers = list(getattr(past, "layers", ()))
    shapes = {tuple(layer.keys.shape) for layer in layers}
    if len(shapes) != 1:
        raise ConfigError("MODEL-054", model=type(model).__name__)
    _, num_heads, _, size = shapes.pop()
    return len(layers), num_heads, size


@torch.no_grad()
def _run(model: PreTrainedModel, num_tokens: int = 1, **options: Any) -> Any:
    """Return what a model says in eval mode about its first tokens."""
    training = model.training
    model.eval()
    ids_BT = torch.arange(num_tokens, device=model.device)[None] % model.config.vocab_size
    output = model(input_ids=ids_BT, **options)
    model.train(training)
    return output


def add_virtual_tokens(model: PreTrainedModel, adapter: Attached) -> None:
    """Put virtual tokens, still zero, before every text of a model; only they learn.

    Raises:
        ConfigError: The model does not answer alike in one go and token by token (``MODEL-054``).
    """
    settings = adapter.settings
    count, size = settings["num_virtual_tokens"], settings["token_dim"]
    if adapter.type == "PREFIX_TUNING":
        size *= 2 * settings["num_layers"]
    embedding = model.get_input_embeddings().weight
    model.__class__ = _subclass(type(model), adapter.type)
    model.virtual_tokens = nn.Parameter(torch.zeros(count, size, device=embedding.device))
    note(model, adapter)
    mark_trainable(model)
    whole = _run(model, 3).logits[:, -1]
    begun = _run(model, 2, use_cache=True)
    step = begun.past_key_values
    ids_BT = torch.full((1, 1), 2 % model.config.vocab_size, device=embedding.device)
    training = model.training
    with torch.no_grad():
        last = model.eval()(input_ids=ids_BT, past_key_values=step).logits[:, -1]
    model.train(training)
    if not torch.allclose(whole, last, atol=SAME * max(1.0, float(whole.abs().max()))):
        raise ConfigError("MODEL-054", model=type(model).__name__)


@torch.no_grad()
def begin_with(model: PreTrainedModel, ids_P: Tensor) -> None:
    """Let the virtual tokens begin as what real tokens have in the model.

    Random vectors begin far from all that the model knows, and learn slower (Li and Liang 2021,
    section 7.5).

    Args:
        model: With virtual tokens.
        ids_P: As many token ids.
    """
    adapter = model.llmwright_adapter
    ids_BP = ids_P[None].to(model.device)
    if adapter.type == "PROMPT_TUNING":
        model.virtual_tokens.copy_(model.get_input_embeddings()(ids_BP)[0])
        return
    training = model.training
    model.eval()
    past = plain_class(model).forward(model, input_ids=ids_BP, use_cache=True).past_key_values
    model.train(training)
    pairs_L2HPE = torch.stack([torch.cat([each.keys, each.values]) for each in past.layers])
    model.virtual_tokens.copy_(pairs_L2HPE.permute(3, 0, 1, 2, 4).flatten(1))


def num_virtual_tokens(model: Any) -> int:
    """Return how many places of its context a model gives to virtual tokens."""
    return len(model.virtual_tokens) if isinstance(model, VirtualTokens) else 0


def has_prefix(model: Any) -> bool:
    """Say whether a model's virtual tokens stand in its key-value cache."""
    return isinstance(model, PrefixTuned)


def plain_class(model: PreTrainedModel) -> type[PreTrainedModel]:
    """Return a model's class without its virtual tokens."""
    cls = type(model)
    return cls.__bases__[1] if isinstance(model, VirtualTokens) else cls


# (class, kind) → the class made of it: the same one each time.
_SUBCLASSES: dict[tuple[Any, str], Any] = {}


def _subclass(cls: Any, kind: str) -> Any:
    """Return the class of a model with virtual tokens; it takes the same arguments."""
    if (cls, kind) in _SUBCLASSES:
        return _SUBCLASSES[cls, kind]
    mixin = PromptTuned if kind == "PROMPT_TUNING" else PrefixTuned
    made: Any = type(f"{mixin.__name__}{cls.__name__}", (mixin, cls), {"__module__": __name__})

    def forward(self: Any, *args: Any, **options: Any) -> Any:
        return mixin.forward(self, *args, **options)

    forward.__signature__ = inspect.signature(cls.forward)  # type: ignore[attr-defined]
    made.forward = forward
    _SUBCLASSES[cls, kind] = made
    return made


class VirtualTokens:
    """What prompt and prefix tuning share; stands before a model's own class."""

    virtual_tokens: nn.Parameter

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        """Return what the model says about the text, the virtual tokens before it."""
        unknown = sorted(set(options) - set(KNOWN))
        assert not unknown, f"virtual tokens do not go with {unknown}"
        count = len(self.virtual_tokens)
        if attention_mask is not None:
            seen_BP = attention_mask.new_ones(len(input_ids), count)
            options["attention_mask"] = torch.cat([seen_BP, attention_mask], dim=1)
        if position_ids is not None:
            options["position_ids"] = position_ids + count
        if past_key_values is not None and past_key_values.get_seq_length():
            return self._plain(input_ids=input_ids, past_key_values=past_key_values, **options)
        return self._first(input_ids, past_key_values, options)

    def _plain(self, **options: Any) -> Any:
        return super().forward(**options)  # type: ignore[misc]

    def _first(self, ids_BT: Tensor, past: Any, options: dict[str, Any]) -> Any:
        raise AssertionError("a subclass says how they are put in front")


class PromptTuned(VirtualTokens):
    """Learned embeddings stand before those of the text."""

    def _first(self, ids_BT: Tensor, past: Any, options: dict[str, Any]) -> Any:
        model: Any = self
        count = len(self.virtual_tokens)
        vectors_BTD = model.get_input_embeddings()(ids_BT)
        prompt_BPD = self.virtual_tokens.to(vectors_BTD.dtype).expand(len(ids_BT), -1, -1)
        if "position_ids" in options:
            ahead_BP = torch.arange(count, device=ids_BT.device).expand(len(ids_BT), -1)
            options["position_ids"] = torch.cat([ahead_BP, options["position_ids"]], dim=1)
        vectors = torch.cat([prompt_BPD, vectors_BTD], dim=1)
        output = self._plain(inputs_embeds=vectors, past_key_values=past, **options)
        if not options.get("logits_to_keep"):
            output.logits = output.logits[:, count:]
        return output


class PrefixTuned(VirtualTokens):
    """Learned keys and values stand before those of the text, in every layer."""

    def _first(self, ids_BT: Tensor, past: Any, options: dict[str, Any]) -> Any:
        from transformers import DynamicCache

        model: Any = self
        settings = model.llmwright_adapter.settings
        sizes = (settings["num_layers"], 2, settings["num_attention_heads"])
        values_PL2HE = self.virtual_tokens.unflatten(1, (*sizes, -1))
        if torch.is_autocast_enabled(ids_BT.device.type):
            values_PL2HE = values_PL2HE.to(torch.get_autocast_dtype(ids_BT.device.type))
        prefix = DynamicCache(config=model.config)
        for layer, pair_2HPE in enumerate(values_PL2HE.permute(1, 2, 3, 0, 4)):
            keys, values = (each.expand(len(ids_BT), -1, -1, -1) for each in pair_2HPE)
            prefix.update(keys, values, layer)
        return self._plain(input_ids=ids_BT, past_key_values=prefix, **options)
