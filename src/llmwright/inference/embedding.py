"""Vectors of texts, of any model that reads texts.

Shapes: N texts, D size of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmwright.core.errors import InputError
from llmwright.inference.engines.asking import vectors_of
from llmwright.inference.engines.engine import Engine
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Example
from llmwright.tasks.text_embedding import encode_whole, read_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Text = str | Sequence[int]
# Numbers of one batch's tokens, 4 bytes each.
MAX_HIDDEN = 1 << 24


@dataclass(frozen=True)
class Embedded:
    """Vectors and what they took.

    Attributes:
        vectors_ND: One for each text, float32.
        num_tokens: Tokens that were read of each.
        truncated: Whether each had to be cut.
    """

    vectors_ND: np.ndarray
    num_tokens: list[int]
    truncated: list[bool]


def read_texts(
    texts: Iterable[Text],
    tokenizer: PreTrainedTokenizerFast,
    contract: Contract,
    prompt: str | None = None,
) -> list[Example]:
    """Return texts as a model reads them.

    Args:
        texts: Texts as users give them, or their token ids.
        tokenizer: The model's.
        contract: The model's.
        prompt: As in `encode_whole`; ids are taken as they are.

    Raises:
        InputError: A text is blank or becomes no token (``TASK-003``, ``INFER-025``), an id is no
            token (``INFER-061``), or there is no such prompt (``TASK-040``).
    """
    found = []
    for text in texts:
        if isinstance(text, str):
            example = encode_whole(read_text(text, contract), tokenizer, contract, prompt)
        else:
            example = _of_ids(text, len(tokenizer), contract)
        if not len(example.input_ids_T):
            raise InputError("INFER-025")
        found.append(example)
    return found


def _of_ids(ids: Sequence[int], size: int, contract: Contract) -> Example:
    wrong = next((index for index in ids if not 0 <= index < size), None)
    if wrong is not None:
        raise InputError("INFER-061", token=wrong, count=size)
    kept = np.array(ids[: contract.max_length], dtype=np.int64)
    return Example(kept, truncated=len(ids) > len(kept))


def embed_examples(
    examples: Sequence[Example],
    engine: Engine,
    contract: Contract,
    batch_size: int,
    adapter: str | None = None,
) -> Embedded:
    """Return the vectors of texts, those of similar length computed together.

    Args:
        examples: The texts as the model reads them.
        engine: Runs the model.
        contract: The model's.
        batch_size: Texts that go through the model together, fewer where they are long.
        adapter: The engine's adapter that answers.

    Raises:
        InputError: The engine gives no vectors (``INFER-060``).
    """
    lengths = [len(example.input_ids_T) for example in examples]
    # The longest first: it tells how many fit.
    order = sorted(range(len(examples)), key=lambda i: -lengths[i])
    vectors: dict[int, np.ndarray] = {}
    size = 1
    while len(vectors) < len(order):
        place = len(vectors)
        fitting = max(1, MAX_HIDDEN // (lengths[order[place]] * size))
        part = order[place : place + (min(batch_size, fitting) if place else 1)]
        found_BD = vectors_of([examples[i] for i in part], engine, contract, adapter)
        size = found_BD.shape[1]
        vectors |= dict(zip(part, found_BD, strict=True))
    vectors_ND = np.stack([vectors[i] for i in range(len(examples))]) if examples else _NOTHING
    return Embedded(vectors_ND, lengths, [example.truncated for example in examples])


_NOTHING = np.zeros((0, 0), dtype=np.float32)
