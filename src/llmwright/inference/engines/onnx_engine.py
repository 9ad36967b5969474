"""The engine of ONNX exports: onnxruntime and numpy, no torch.

``export.json`` names the graphs: ``model`` for classifiers, taggers and encoders; ``decode`` for
decoders, which also reads prompts (over an empty cache); ``prefill`` and ``decode`` for
encoder-decoders.

Shapes: B rows, T tokens, H heads, P cached tokens, D size of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime

from llmwright.core.errors import InputError
from llmwright.core.events import Emit, unheard
from llmwright.core.hardware import num_cores
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
from llmwright.inference.engines.exported import is_export, read_export
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Batch

PAST = "past_key_values."
HIDDEN = "last_hidden_state"


class Graph:
    """One ONNX file, loaded.

    Args:
        path: The file.

    Raises:
        InputError: It is missing or damaged (``INFER-006``).
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        # onnxruntime would take every core of the machine, not those this process may use.
        options.intra_op_num_threads = num_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own classes and RuntimeError
            reason = str(error).strip().splitlines()[0][:200]
            raise InputError("INFER-006", path=path, reason=reason) from error
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]

    def run(self, values: dict[str, Any], wanted: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs of one run by name; values the graph does not read are left out."""
        names = list(wanted or self.outputs)
        feed = {
            name: value if isinstance(value, onnxruntime.OrtValue) else _ort(value)
            for name, value in values.items()
            if name in self.inputs
        }
        return dict(zip(names, self.session.run_with_ort_values(names, feed), strict=True))


def _ort(array: np.ndarray) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


class OnnxEngine(Engine):
    """Runs an export.

    Args:
        folder: The export.
        contract: The model's contract.
        graphs: Loaded graphs by name.
        info: What ``export.json`` says.
    """

    name: ClassVar[str] = "onnx"
    copies = True

    def __init__(
        self, folder: Path, contract: Contract, graphs: dict[str, Graph], info: dict[str, Any]
    ) -> None:
        self.folder = folder
        self.contract = contract
        self.graphs = graphs
        self.context = info.get("context")
        self.number_format = info.get("number_format", "float32")
        self.gives_hidden = "model" in graphs and HIDDEN in graphs["model"].outputs

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Say whether a folder is an ONNX export."""
        return is_export(folder, "onnx")

    @classmethod
    def open(cls, folder: Path, contract: Contract, emit: Emit = unheard) -> OnnxEngine:
        """Return the engine with all graphs of an export loaded.

        Raises:
            InputError: A graph or ``export.json`` is missing or damaged (``INFER-006``).
        """
        info = read_export(folder)
        graphs = {name: Graph(folder / file) for name, file in info["graphs"].items()}
        return cls(folder, contract, graphs, info)

    def close(self) -> None:
        """Drop the sessions: onnxruntime frees what they hold with them."""
        self.graphs = {}

    def logits(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return all logits of a batch, as `Engine.logits` says."""
        values: dict[str, Any] = {
            name: batch[name]
            for name in ("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids")
            if name in batch
        }
        graph = self.graphs.get("model") or self.graphs.get("prefill")
        if graph is None:
            graph = self.graphs["decode"]
            mask_BT = batch["attention_mask"]
            values["logits_to_keep"] = np.arange(mask_BT.shape[1])
            values["position_ids"] = positions(mask_BT, mask_BT.shape[1])
            values |= self.empty_cache(len(mask_BT))
        found: np.ndarray = graph.run(values, ["logits"])["logits"].numpy()
        return found

    def hidden(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return the last vector of each token, as `Engine.hidden` says."""
        if not self.gives_hidden:
            return super().hidden(batch)
        names = ("input_ids", "attention_mask", "token_type_ids")
        values = {name: batch[name] for name in names if name in batch}
        found: np.ndarray = self.graphs["model"].run(values, [HIDDEN])[HIDDEN].numpy()
        return found

    def empty_cache(self, count: int) -> dict[str, np.ndarray]:
        """Return caches without a token for the decode graph, each (B, heads, 0, size)."""
        caches = {}
        for name, spec in self.graphs["decode"].inputs.items():
            if name.startswith(PAST):
                heads, size = spec.shape[1], spec.shape[3]
                caches[name] = np.zeros((count, heads, 0, size), dtype=np.float32)
        return caches

    def begin(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> Decoding:
        """Read prompts, as `Engine.begin` says."""
        if "prefill" in self.graphs:
            return EncoderDecoding(self, prompts)
        return CausalDecoding(self, prompts)


class CachedDecoding(Decoding):
    """What both kinds share: caches that go from one run's outputs to the next one's inputs.

    A decode graph that reads ``logits_to_keep`` computes logits of these positions only.

    The graphs name a cache alike where it goes in and comes out: ``past_key_values.…`` and, since
    a name may stand only once in a graph, ``present.…``.
    """

    _caches: dict[str, Any]
    _mask_BT: np.ndarray

    def _take(self, outputs: dict[str, Any]) -> None:
        """Keep the caches of a run and the logits of its last position."""
        self.logits_BV = outputs["logits"].numpy()[:, -1]
        for name, value in outputs.items():
            if name.startswith("present."):
                self._caches[PAST + name.removeprefix("present.")] = value

    def keep(self, rows_R: np.ndarray) -> None:
        """Go on with these rows only."""
        self._mask_BT, self.room_B = self._mask_BT[rows_R], self.room_B[rows_R]
        self.logits_BV = self.logits_BV[rows_R]
        self._caches = {name: _ort(v.numpy()[rows_R]) for name, v in self._caches.items()}


class CausalDecoding(CachedDecoding):
    """Continuations of prompts. Prompts are padded on the left, so that all end together."""

    joins = True

    def __init__(self, engine: OnnxEngine, prompts: Sequence[np.ndarray]) -> None:
        self._engine = engine
        self._graph = engine.graphs["decode"]
        ids_BT, self._mask_BT = pad_left(prompts, engine.contract.special_tokens.get("pad", 0))
        self.room_B = room_of(engine.context, [len(p) for p in prompts])
        self._caches = {n: _ort(v) for n, v in engine.empty_cache(len(prompts)).items()}
        self._read(ids_BT)

    def _read(self, ids_BT: np.ndarray) -> None:
        places_BT = positions(self._mask_BT, ids_BT.shape[1])
        values = {
            "input_ids": ids_BT,
            "attention_mask": self._mask_BT,
            "position_ids": places_BT,
            "logits_to_keep": np.array([ids_BT.shape[1] - 1]),
        }
        self._take(self._graph.run({**values, **self._caches}))

    def advance(self, token_ids_B: np.ndarray) -> None:
        """Append one token to each text."""
        self.room_B = self.room_B - 1
        new_B1 = np.ones((len(token_ids_B), 1), dtype=np.int64)
        self._mask_BT = np.concatenate([self._mask_BT, new_B1], axis=1)
        self._read(token_ids_B[:, None])

    def join(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> None:
        """Read more prompts, as `Decoding.join` says."""
        other = CausalDecoding(self._engine, prompts)
        self._mask_BT = beside(self._mask_BT, other._mask_BT)
        width = self._mask_BT.shape[1]
        for name, value in self._caches.items():
            both = [_padded(each.numpy(), width) for each in (value, other._caches[name])]
            self._caches[name] = _ort(np.concatenate(both))
        self.room_B = np.concatenate([self.room_B, other.room_B])
        self.logits_BV = np.concatenate([self.logits_BV, other.logits_BV])

    def keep(self, rows_R: np.ndarray) -> None:
        """Go on with these rows only, and without the columns that only others used."""
        super().keep(rows_R)
        empty = num_empty(self._mask_BT)
        if empty:
            self._mask_BT = self._mask_BT[:, empty:]
            self._caches = {n: _ort(v.numpy()[:, :, empty:]) for n, v in self._caches.items()}


def _padded(cache_BHPD: np.ndarray, width: int) -> np.ndarray:
    """Return a cache padded on the left to a width."""
    missing = width - cache_BHPD.shape[2]
    return np.pad(cache_BHPD, ((0, 0), (0, 0), (missing, 0), (0, 0)))


class EncoderDecoding(CachedDecoding):
    """Target texts of an encoder-decoder; every target begins with the decoder's start token."""

    def __init__(self, engine: OnnxEngine, prompts: Sequence[np.ndarray]) -> None:
        self._graph = engine.graphs["decode"]
        special = engine.contract.special_tokens
        ids_BT, self._mask_BT = pad_right(prompts, special.get("pad", 0))
        start_B1 = np.full((len(prompts), 1), special["decoder_start"], dtype=np.int64)
        self.room_B = room_of(engine.context, [1] * len(prompts))
        self._caches = {}
        values = {
            "input_ids": ids_BT,
            "attention_mask": self._mask_BT,
            "decoder_input_ids": start_B1,
        }
        self._take(engine.graphs["prefill"].run(values))

    def advance(self, token_ids_B: np.ndarray) -> None:
        """Append one token to each text."""
        self.room_B = self.room_B - 1
        values = {"attention_mask": self._mask_BT, "decoder_input_ids": token_ids_B[:, None]}
        self._take(self._graph.run({**values, **self._caches}))
