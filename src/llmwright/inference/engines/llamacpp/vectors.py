"""Vectors of tokens from llama.cpp, in a context of its own: one either writes or gives vectors.

Shapes: B rows, T tokens, D size of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from llmwright.core.errors import ResourceError
from llmwright.core.hardware import num_cores
from llmwright.inference.engines.llamacpp.library import ContextSettings, Library

# Tokens that go through the model together where it reads only what came before.
BATCH_TOKENS = 512
# Texts that go through the model together.
NUM_TEXTS = 32
# llama.cpp's name for "no pooling": a vector for each token.
NO_POOLING = 0


class TokenVectors:
    """A context of llama.cpp that gives the last vector of each token.

    Args:
        library: llama.cpp.
        model: Handle of the model.
        max_length: Longest text in tokens.
        sees_all: Whether each token's vector depends on those behind it too (BERT); such a text
            goes through the model whole.

    Raises:
        ResourceError: Memory is not enough (``INFER-045``).
    """

    def __init__(self, library: Library, model: Any, max_length: int, sees_all: bool) -> None:
        self._library = library
        self._size = int(library.model_n_embd(model))
        self._num_tokens = max(BATCH_TOKENS, max_length)
        settings = library.settings(
            ContextSettings,
            n_ctx=self._num_tokens,
            n_batch=self._num_tokens,
            n_ubatch=self._num_tokens if sees_all else BATCH_TOKENS,
            n_seq_max=NUM_TEXTS,
            n_threads=num_cores(),
            n_threads_batch=num_cores(),
            embeddings=True,
            pooling_type=NO_POOLING,
            kv_unified=True,
        )
        self._context = library.init_from_model(model, settings)
        if not self._context:
            raise ResourceError("INFER-045", path="-", tokens=self._num_tokens)
        self._memory = library.get_memory(self._context)
        self._batch = library.batch_init(self._num_tokens, 0, 1)

    def close(self) -> None:
        """Give the memory back."""
        self._library.batch_free(self._batch)
        self._library.free(self._context)

    def read(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the vectors of texts (B, T, D), zeros behind each text's end.

        Raises:
            ResourceError: llama.cpp could not (``INFER-046``).
        """
        width = max(len(ids) for ids in texts)
        found_BTD = np.zeros((len(texts), width, self._size), dtype=np.float32)
        for part in self._parts(texts):
            self._run([texts[row] for row in part])
            place = 0
            for row in part:
                for position in range(len(texts[row])):
                    address = self._library.get_embeddings_ith(self._context, place)
                    found_BTD[row, position] = np.ctypeslib.as_array(address, (self._size,))
                    place += 1
        return found_BTD

    def _parts(self, texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield rows that fit together."""
        part: list[int] = []
        count = 0
        for row, ids in enumerate(texts):
            if part and (len(part) == NUM_TEXTS or count + len(ids) > self._num_tokens):
                yield part
                part, count = [], 0
            part.append(row)
            count += len(ids)
        yield part

    def _run(self, texts: Sequence[Sequence[int]]) -> None:
        if self._memory:
            # Of a decoder: what the texts before left there.
            self._library.memory_clear(self._memory, True)
        batch, place = self._batch, 0
        for number, ids in enumerate(texts):
            for position, token in enumerate(ids):
                batch.token[place], batch.pos[place] = token, position
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, number
                batch.logits[place] = True
                place += 1
        batch.n_tokens = place
        status = self._library.decode(self._context, batch)
        if status:
            raise ResourceError("INFER-046", status=status)
