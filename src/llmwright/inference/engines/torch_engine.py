"""The engine of every trained model: PyTorch, float32, eval mode, with a key-value cache.

Shapes: B rows, T tokens, U target tokens, V vocabulary, H hidden or heads, P cached tokens, D size
of a head, Z latent.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional
from transformers.cache_utils import DynamicLayer

from llmwright.core.events import Emit, unheard
from llmwright.inference.engines.engine import (
    AdapterNames,
    Decoding,
    Engine,
    Randoms,
    beside,
    num_empty,
    pad_left,
    pad_right,
    positions,
    room_of,
)
from llmwright.models.adapters.base import holds_weights
from llmwright.models.adapters.beside import Adapter, Adapters
from llmwright.models.adapters.virtual import num_virtual_tokens
from llmwright.models.load import load_model
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS, Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TorchEngine(Engine):
    """Runs a model of transformers or of our own.

    Args:
        model: In eval mode.
        folder: Where it came from.
        contract: Says task and special tokens.
    """

    name: ClassVar[str] = "torch"

    def __init__(self, model: PreTrainedModel, folder: Path, contract: Contract) -> None:
        self.model = model.eval()
        self.folder = folder
        self.contract = contract
        self.number_format = str(next(model.parameters()).dtype).removeprefix("torch.")
        context: int | None = getattr(model.config, "max_position_embeddings", None)
        self.context = None if context is None else context - num_virtual_tokens(model)
        self.accepts = set(inspect.signature(model.forward).parameters)
        # Texts of a VAE differ from the prompt on, by their latent vectors.
        self.copies = "latent" not in self.accepts
        self._adapters = Adapters(self.model, folder)
        # A model without a head is a body itself; one whose body is no part of it has none to ask.
        has_body = TASKS.get(contract.task).embeds or model.base_model is not model
        self.gives_hidden = has_body and not num_virtual_tokens(model)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that rows can be answered through."""
        return self._adapters.names

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load an adapter, as `Engine.load_adapter` says."""
        self._adapters.load(name, folder)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter, as `Engine.unload_adapter` says."""
        super().unload_adapter(name)
        self._adapters.unload(name)

    def close(self) -> None:
        """Move the weights to where they take no memory."""
        self.model.to("meta")
        self._adapters = Adapters(self.model, self.folder)

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Say whether a folder has weights in safetensors."""
        return holds_weights(folder)

    @classmethod
    def open(cls, folder: Path, contract: Contract, emit: Emit = unheard) -> TorchEngine:
        """Return the engine with the model of a folder, in float32 on the CPU.

        Raises:
            InputError: As `load_model`.
        """
        task = TASKS.get(contract.task)
        return cls(load_model(folder, task=task.auto_class), folder, contract)

    @torch.inference_mode()
    def logits(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return all logits of a batch, as `Engine.logits` says."""
        names = ("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids")
        tensors = {name: self.tensor(batch[name]) for name in names if name in batch}
        with self.over(self.chosen(adapters)):
            found: np.ndarray = self.model(**tensors).logits.float().cpu().numpy()
        return found

    @torch.inference_mode()
    def hidden(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return the last vector of each token, as `Engine.hidden` says."""
        if not self.gives_hidden:
            return super().hidden(batch)
        encodes = self.model.config.is_encoder_decoder
        body = self.model.get_encoder() if encodes else self.model.base_model
        names = ("input_ids", "attention_mask", "token_type_ids")
        values: dict[str, Any] = {n: self.tensor(batch[n]) for n in names if n in batch}
        if "use_cache" in inspect.signature(body.forward).parameters:
            values["use_cache"] = False
        with self.over(self.chosen(adapters)):
            output = body(**values)
        hidden_BTD = output if isinstance(output, torch.Tensor) else output[0]
        found: np.ndarray = hidden_BTD.float().cpu().numpy()
        return found

    def begin(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> Decoding:
        """Read prompts, as `Engine.begin` says."""
        chosen = self.chosen(adapters, len(prompts))
        if self.model.config.is_encoder_decoder:
            return EncoderDecoding(self, prompts, chosen)
        return CausalDecoding(self, prompts, randoms, chosen)

    def chosen(self, names: AdapterNames | None, count: int = 0) -> list[Adapter | None]:
        """Return the adapters of some rows.

        Args:
            names: Their names.
            count: How many rows there are, where they have none.

        Raises:
            ConfigError: One is not loaded (``INFER-051``).
        """
        self.check_adapters(names or ())
        return self._adapters.chosen(names) if names else [None] * count

    def over(self, rows: Sequence[Adapter | None]) -> AbstractContextManager[None]:
        """Let the model answer rows through their adapters, within a block."""
        return self._adapters.over(rows)

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Return an array on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.model.device)


class CausalDecoding(Decoding):
    """Continuations of prompts. Prompts are padded on the left, so that all end together."""

    @torch.inference_mode()
    def __init__(
        self,
        engine: TorchEngine,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None,
        adapters: list[Adapter | None],
    ) -> None:
        self._engine, self._adapters = engine, adapters
        ids_BT, mask_BT = pad_left(prompts, engine.contract.special_tokens.get("pad", 0))
        self.room_B = room_of(engine.context, [len(p) for p in prompts])
        self._mask_BT = mask_BT
        extra: dict[str, Any] = {}
        if "latent" in engine.accepts:
            extra["latent"] = engine.tensor(self._latent_BZ(randoms, len(prompts)))
        self._read(ids_BT, mask_BT, None, extra)

    def _latent_BZ(self, randoms: Randoms | None, count: int) -> np.ndarray:
        """Return the VAE's latent vectors: the prior's mean where the text is greedy."""
        size = self._engine.model.config.latent_size
        found_BZ = np.zeros((count, size), dtype=np.float32)
        for row, random in enumerate(randoms or []):
            if random is not None:
                found_BZ[row] = random.standard_normal(size)
        return found_BZ

    def _read(
        self, ids_BT: np.ndarray, mask_BT: np.ndarray | None, past: Any, extra: dict[str, Any]
    ) -> None:
        engine = self._engine
        values: dict[str, Any] = {"input_ids": engine.tensor(ids_BT), "use_cache": True, **extra}
        if "logits_to_keep" in engine.accepts:
            # Of a prompt only the last position is wanted; all of them times the vocabulary could
            # be larger than the memory.
            values["logits_to_keep"] = 1
        if mask_BT is not None:
            values["attention_mask"] = engine.tensor(mask_BT)
        if "position_ids" in engine.accepts:
            values["position_ids"] = engine.tensor(positions(self._mask_BT, ids_BT.shape[1]))
        with engine.over(self._adapters):
            output = engine.model(**values, past_key_values=past)
        self._past = output.past_key_values
        # A cache of keys and values of all tokens, in an order that positions tell, and of no
        # others: virtual tokens stand before the padding of their texts.
        plain = all(type(layer) is DynamicLayer for layer in getattr(self._past, "layers", [None]))
        own = not num_virtual_tokens(engine.model)
        self.joins = plain and own and "position_ids" in engine.accepts
        self.logits_BV = output.logits[:, -1].float().cpu().numpy()

    @torch.inference_mode()
    def advance(self, token_ids_B: np.ndarray) -> None:
        """Append one token to each text."""
        self.room_B = self.room_B - 1
        new_B1 = np.ones((len(token_ids_B), 1), dtype=np.int64)
        self._mask_BT = np.concatenate([self._mask_BT, new_B1], axis=1)
        # A recurrent model keeps a state and wants to know nothing of the tokens before.
        stateful = getattr(self._engine.model, "_is_stateful", False)
        mask = None if stateful else self._mask_BT
        self._read(token_ids_B[:, None], mask, self._past, {})

    def keep(self, rows_R: np.ndarray) -> None:
        """Go on with these rows only, and without the columns that only others used."""
        self._mask_BT, self.room_B = self._mask_BT[rows_R], self.room_B[rows_R]
        self.logits_BV = self.logits_BV[rows_R]
        self._adapters = [self._adapters[row] for row in rows_R.tolist()]
        select_rows(self._past, self._engine.tensor(rows_R))
        empty = num_empty(self._mask_BT) if self.joins else 0
        if empty:
            self._mask_BT = self._mask_BT[:, empty:]
            for layer in self._past.layers:
                layer.keys, layer.values = layer.keys[:, :, empty:], layer.values[:, :, empty:]

    @torch.inference_mode()
    def join(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> None:
        """Read more prompts, as `Decoding.join` says."""
        chosen = self._engine.chosen(adapters, len(prompts))
        other = CausalDecoding(self._engine, prompts, randoms, chosen)
        self._adapters = [*self._adapters, *chosen]
        self._mask_BT = beside(self._mask_BT, other._mask_BT)
        width = self._mask_BT.shape[1]
        for own, new in zip(self._past.layers, other._past.layers, strict=True):
            own.keys = torch.cat([padded(each.keys, width) for each in (own, new)])
            own.values = torch.cat([padded(each.values, width) for each in (own, new)])
        self.room_B = np.concatenate([self.room_B, other.room_B])
        self.logits_BV = np.concatenate([self.logits_BV, other.logits_BV])


class EncoderDecoding(Decoding):
    """Target texts of an encoder-decoder; every target begins with the decoder's start token."""

    @torch.inference_mode()
    def __init__(
        self, engine: TorchEngine, prompts: Sequence[np.ndarray], adapters: list[Adapter | None]
    ) -> None:
        self._engine, self._adapters = engine, adapters
        ids_BT, mask_BT = pad_right(prompts, engine.contract.special_tokens.get("pad", 0))
        self._mask_BT = engine.tensor(mask_BT)
        encoder = engine.model.get_encoder()
        with engine.over(adapters):
            self._hidden_BTH = encoder(
                input_ids=engine.tensor(ids_BT), attention_mask=self._mask_BT
            ).last_hidden_state
        self.room_B = room_of(engine.context, [0] * len(prompts))
        self._past: Any = None
        self.advance(np.full(len(prompts), engine.contract.special_tokens["decoder_start"]))

    @torch.inference_mode()
    def advance(self, token_ids_B: np.ndarray) -> None:
        """Append one token to each text."""
        from transformers.modeling_outputs import BaseModelOutput

        self.room_B = self.room_B - 1
        with self._engine.over(self._adapters):
            output = self._engine.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden_BTH),
                attention_mask=self._mask_BT,
                decoder_input_ids=self._engine.tensor(token_ids_B[:, None].astype(np.int64)),
                past_key_values=self._past,
                use_cache=True,
            )
        self._past = output.past_key_values
        self.logits_BV = output.logits[:, -1].float().cpu().numpy()

    def keep(self, rows_R: np.ndarray) -> None:
        """Go on with these rows only."""
        rows = self._engine.tensor(rows_R)
        self._mask_BT, self._hidden_BTH = self._mask_BT[rows], self._hidden_BTH[rows]
        self.room_B, self.logits_BV = self.room_B[rows_R], self.logits_BV[rows_R]
        self._adapters = [self._adapters[row] for row in rows_R.tolist()]
        select_rows(self._past, rows)


def padded(cache_BHPD: torch.Tensor, width: int) -> torch.Tensor:
    """Return a cache padded on the left to a width."""
    return functional.pad(cache_BHPD, (0, 0, width - cache_BHPD.shape[2], 0))


def select_rows(past: Any, rows: torch.Tensor) -> None:
    """Keep some rows of a key-value cache of transformers, or of our recurrent state."""
    if hasattr(past, "batch_select_indices"):
        past.batch_select_indices(rows)
    else:
        past.reorder_cache(rows)
