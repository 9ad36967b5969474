"""The engine of GGUF files: llama.cpp, which is sent token ids and gives logits.

Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmwright.core.errors import InputError, ResourceError
from llmwright.core.events import Emit, Notice, unheard
from llmwright.core.hardware import memory, num_cores
from llmwright.core.locale import text
from llmwright.inference.engines.engine import AdapterNames, Decoding, Engine, Randoms, room_of
from llmwright.inference.engines.exported import is_export, read_export
from llmwright.inference.engines.llamacpp.cache import Cache, Slot
from llmwright.inference.engines.llamacpp.library import ContextSettings, ModelSettings, library
from llmwright.inference.engines.llamacpp.vectors import TokenVectors
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import TASKS, Batch

# Tokens that go through the model together; of a long prompt so many at a time.
BATCH_TOKENS = 512
NUM_SLOTS = 32
# The cache of keys and values is as large as so many full texts, if that is no larger than this
# share of the memory that is free; one full text may take the second share.
FULL_TEXTS, USUAL_SHARE, LARGEST_SHARE = 8, 0.25, 0.5
# A key or a value is a float16.
CACHE_NUMBER_BYTES = 2
# Model types in which tokens see those behind them.
SEE_ALL = ("bert",)


class LlamaCppEngine(Engine):
    """Runs one GGUF file.

    Args:
        path: The file.
        folder: Where it lies, with what belongs to it.
        number_format: How its weights are stored.
        num_slots: Texts that are written at the same time.
        writes: Whether texts are written; else it gives vectors only.
        sees_all: Whether each token's vector depends on those behind it too, as in BERT.

    Raises:
        InputError: llama.cpp cannot read the file (``INFER-044``).
        ResourceError: It is not installed (``INFER-040``), or is one we do not know
            (``INFER-041``); memory is not enough (``INFER-045``).
    """

    name: ClassVar[str] = "llamacpp"
    context: int
    copies = True
    gives_hidden = True

    def __init__(
        self,
        path: Path,
        folder: Path,
        number_format: str,
        num_slots: int = NUM_SLOTS,
        writes: bool = True,
        sees_all: bool = False,
    ) -> None:
        self.folder, self.number_format = folder, number_format
        self._writes, self._sees_all = writes, sees_all
        self._vectors: TokenVectors | None = None
        self._library = lib = library()
        self._model = lib.model_load_from_file(
            str(path).encode(), lib.settings(ModelSettings, n_gpu_layers=0, check_tensors=True)
        )
        if not self._model:
            raise InputError("INFER-044", path=path)
        self.trained_context = self.context = int(lib.model_n_ctx_train(self._model))
        self.num_outputs = int(lib.vocab_n_tokens(lib.model_get_vocab(self._model)))
        if writes:
            self._prepare_writing(path, num_slots)

    def _num_cells(self, num_slots: int) -> int:
        """Return for how many tokens memory is reserved, which the file's context may be beyond."""
        lib, model, context = self._library, self._model, self.context
        kind = lib.metadata(model, "general.architecture")
        size = int(lib.model_n_embd(model)) // int(lib.model_n_head(model))
        sizes = [
            int(lib.metadata(model, f"{kind}.attention.{name}_length") or size)
            for name in ("key", "value")
        ]
        heads = int(lib.model_n_layer(model)) * int(lib.model_n_head_kv(model))
        fit = memory().available_bytes // (heads * sum(sizes) * CACHE_NUMBER_BYTES)
        usual = min(min(num_slots, FULL_TEXTS) * context, int(fit * USUAL_SHARE))
        return max(usual, min(context, int(fit * LARGEST_SHARE)))

    def _prepare_writing(self, path: Path, num_slots: int) -> None:
        """Make the context in which texts are written and the cache of what was read."""
        lib, num_cells = self._library, self._num_cells(num_slots)
        self.context = min(self.context, num_cells)
        settings = lib.settings(
            ContextSettings,
            n_ctx=num_cells,
            n_batch=BATCH_TOKENS,
            n_ubatch=BATCH_TOKENS,
            n_seq_max=num_slots,
            n_threads=num_cores(),
            n_threads_batch=num_cores(),
            kv_unified=True,
        )
        self._context = lib.init_from_model(self._model, settings)
        if not self._context:
            raise ResourceError("INFER-045", path=path, tokens=num_cells)
        self.max_texts, self.max_tokens = num_slots, num_cells
        self.cache = Cache(lib, lib.get_memory(self._context), num_slots, num_cells)
        self._batch = lib.batch_init(BATCH_TOKENS, 0, 1)

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Say whether a folder is an export in GGUF."""
        return is_export(folder, "gguf")

    @classmethod
    def open(cls, folder: Path, contract: Contract, emit: Emit = unheard) -> LlamaCppEngine:
        """Return the engine with the file of a folder.

        Raises:
            InputError, ResourceError: As the class.
        """
        info = read_export(folder)
        path, number_format = folder / info["graphs"]["model"], str(info["number_format"])
        writes, sees_all = TASKS.get(contract.task).generates, contract.model_type in SEE_ALL
        made = cls(path, folder, number_format, writes=writes, sees_all=sees_all)
        if made.context < made.trained_context:
            said = text(
                "inference.context_shortened", tokens=made.context, trained=made.trained_context
            )
            emit(Notice(said, "warning"))
        return made

    @property
    def prefix_cache(self) -> tuple[int, int]:
        """Prompt tokens looked for in the cache so far, and those found there."""
        return (self.cache.num_asked, self.cache.num_found) if self._writes else (0, 0)

    def close(self) -> None:
        """Give the memory back; the engine is of no use afterwards."""
        if self._model:
            if self._vectors is not None:
                self._vectors.close()
            if self._writes:
                self._library.batch_free(self._batch)
                self._library.free(self._context)
            self._library.model_free(self._model)
            self._model = None

    def logits(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return all logits of a batch (B, T, V), row by row."""
        mask_BT = batch["attention_mask"]
        found_BTV = np.zeros((*mask_BT.shape, self.num_outputs), dtype=np.float32)
        for row, mask_T in enumerate(mask_BT):
            ids_T = batch["input_ids"][row][: int(mask_T.sum())]
            slot, _ = self.cache.take([])
            try:
                for start, logits_TV in self.read([(slot, ids_T.tolist())], everything=True):
                    found_BTV[row, start : start + len(logits_TV)] = logits_TV
            finally:
                self.cache.forget(slot)
        return found_BTV

    def hidden(self, batch: Batch, adapters: AdapterNames | None = None) -> np.ndarray:
        """Return the last vector of each token, as `Engine.hidden` says."""
        if self._vectors is None:
            length = self.context
            self._vectors = TokenVectors(self._library, self._model, length, self._sees_all)
        lengths = batch["attention_mask"].sum(axis=1)
        rows = zip(batch["input_ids"], lengths, strict=True)
        texts = [ids_T[:length].tolist() for ids_T, length in rows]
        width = batch["input_ids"].shape[1]
        found_BTD = self._vectors.read(texts)
        return np.pad(found_BTD, ((0, 0), (0, width - found_BTD.shape[1]), (0, 0)))

    def begin(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> Decoding:
        """Read prompts, as `Engine.begin` says."""
        return Sequences(self, prompts)

    def read(
        self, texts: Sequence[tuple[Slot, Sequence[int]]], everything: bool = False
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Read more tokens of some texts; yield logits in the order of the texts.

        Args:
            texts: Slots and the tokens that come next in them.
            everything: Whether all tokens' logits are wanted, or those of each text's last one.

        Yields:
            Text (or, of everything, place of its first token) and logits (V,), or (T, V).

        Raises:
            ResourceError: llama.cpp could not (``INFER-046``).
        """
        self.cache.make_room(sum(len(tokens) for _, tokens in texts))
        waiting = [
            (index, slot, token, last == len(tokens) - 1)
            for index, (slot, tokens) in enumerate(texts)
            for last, token in enumerate(tokens)
        ]
        for start in range(0, len(waiting), BATCH_TOKENS):
            part = waiting[start : start + BATCH_TOKENS]
            batch = self._batch
            for place, (_, slot, token, last) in enumerate(part):
                batch.token[place], batch.pos[place] = token, len(slot.tokens)
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, slot.sequence
                batch.logits[place] = last or everything
                slot.tokens.append(token)
            batch.n_tokens = len(part)
            status = self._library.decode(self._context, batch)
            if status:
                raise ResourceError("INFER-046", status=status)
            if everything:
                yield start, np.stack([self._logits_V(place) for place in range(len(part))])
                continue
            for place, (index, _, _, last) in enumerate(part):
                if last:
                    yield index, self._logits_V(place)

    def _logits_V(self, place: int) -> np.ndarray:
        address = self._library.get_logits_ith(self._context, place)
        return np.ctypeslib.as_array(address, (self.num_outputs,)).copy()


class Sequences(Decoding):
    """Texts being written by llama.cpp, each in a slot of its own."""

    joins = True

    def __init__(self, engine: LlamaCppEngine, prompts: Sequence[np.ndarray]) -> None:
        self._engine = engine
        self._slots: list[Slot] = []
        self.logits_BV = np.zeros((0, engine.num_outputs), dtype=np.float32)
        self.room_B = np.zeros(0, dtype=np.int64)
        self.join(prompts)

    def join(
        self,
        prompts: Sequence[np.ndarray],
        randoms: Randoms | None = None,
        adapters: AdapterNames | None = None,
    ) -> None:
        """Read more prompts, as `Decoding.join` says."""
        engine, taken = self._engine, []
        try:
            for prompt in prompts:
                tokens = prompt.tolist()
                slot, kept = engine.cache.take(tokens)
                taken.append((slot, tokens[kept:]))
            new_RV = np.zeros((len(prompts), engine.num_outputs), dtype=np.float32)
            for index, logits_V in engine.read(taken):
                new_RV[index] = logits_V
        except BaseException:
            for slot, _ in taken:
                engine.cache.forget(slot)
            raise
        self._slots += [slot for slot, _ in taken]
        self.logits_BV = np.concatenate([self.logits_BV, new_RV])
        room_R = room_of(engine.context, [len(prompt) for prompt in prompts])
        self.room_B = np.concatenate([self.room_B, room_R])

    def advance(self, token_ids_B: np.ndarray) -> None:
        """Append one token to each text."""
        self.room_B = self.room_B - 1
        texts = [(slot, [int(t)]) for slot, t in zip(self._slots, token_ids_B, strict=True)]
        self.logits_BV = np.stack([logits_V for _, logits_V in self._engine.read(texts)])

    def keep(self, rows_R: np.ndarray) -> None:
        """Go on with these rows only, as `Decoding.keep` says.

        Raises:
            ResourceError: No slot is left for a copy (``INFER-042``).
        """
        cache, kept = self._engine.cache, []
        seen: set[int] = set()
        cache.check_free(len(rows_R) - len(set(rows_R.tolist())))
        for row in rows_R.tolist():
            slot = self._slots[row]
            kept.append(cache.copy(slot) if row in seen else slot)
            seen.add(row)
        for row, slot in enumerate(self._slots):
            if row not in seen:
                cache.release(slot)
        self._slots = kept
        self.logits_BV, self.room_B = self.logits_BV[rows_R], self.room_B[rows_R]

    def close(self) -> None:
        """Let others have the slots."""
        for slot in self._slots:
            self._engine.cache.release(slot)
        self._slots = []
