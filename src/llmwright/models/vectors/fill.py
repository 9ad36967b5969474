"""Put word vectors into a model's embedding, and say how many of its words have one.

Shapes: V vocabulary, E embedding, K words with a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmwright.core.locale import text
from llmwright.models.vectors.config import VectorsKind

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerFast

# How a token begins that begins a word, where tokens are pieces (SentencePiece, byte-level BPE).
BEGINS = "▁Ġ"
# From here on stand the scripts of China and Japan.
UNSPACED = "\u2e80"
# What stands for bytes that are no whole character.
BROKEN = "\ufffd"
# Token id → vector, shape (E,).
Vectors = Mapping[int, np.ndarray]


@dataclass(frozen=True)
class VectorRequest:
    """What vectors are wanted for.

    Attributes:
        tokenizer: Its tokens are the words.
        size: Numbers in a vector.
        seed: Of what is learned.
        root: Where a relative path starts.
        sequences: Returns the token ids of the training texts; nothing where there are none.
        notice: Receives sentences for the user.
    """

    tokenizer: PreTrainedTokenizerFast
    size: int
    seed: int
    root: Path | None
    sequences: Callable[[], Iterable[np.ndarray]]
    notice: Callable[[str], None]


def words_of(tokenizer: PreTrainedTokenizerFast) -> dict[int, str]:
    """Return token id → the word it stands for; special tokens and white space are no words.

    A token of pieces that begins a word (``▁rain``, ``Ġrain``) counts as that word; one that goes
    on with it (``ing``) does not, but in scripts that write no spaces.
    """
    special, vocabulary = set(tokenizer.all_special_ids), tokenizer.get_vocab()
    marks = any(len(token) > 1 and token[0] in BEGINS for token in vocabulary)
    found: dict[int, str] = {}
    for token, index in vocabulary.items():
        if index not in special:
            word = tokenizer.convert_tokens_to_string([token]).strip()
            begins = not marks or token[0] in BEGINS or max(word, default="") >= UNSPACED
            if word and begins and BROKEN not in word:
                found[index] = word
    return dict(sorted(found.items()))


def fill(embedding: nn.Embedding, vectors: VectorsKind, request: VectorRequest) -> None:
    """Give tokens their vectors; all others get random ones that spread as far.

    Args:
        embedding: Its rows are set; the row for padding stays zero.
        vectors: Where they come from.
        request: What they are wanted for.

    Raises:
        InputError: As the kind's own `build`.
        ResourceError: A package is missing (``MODEL-046``).
    """
    import torch

    found: Vectors = vectors.build(request)
    rows_KE = np.stack(list(found.values())).astype(np.float32) * vectors.scale
    spread = float(rows_KE.std())
    with torch.no_grad():
        embedding.weight.normal_(std=spread)
        embedding.weight[list(found)] = torch.from_numpy(rows_KE).to(embedding.weight)
        if embedding.padding_idx is not None:
            embedding.weight[embedding.padding_idx].zero_()
    embedding.weight.requires_grad_(not vectors.freeze)
    total = len(words_of(request.tokenizer))
    sentence = text(
        "models.vectors",
        found=f"{len(found):,}",
        total=f"{total:,}",
        rest=f"{total - len(found):,}",
        spread=f"{spread:.3g}",
    )
    request.notice(sentence)
    if vectors.freeze:
        request.notice(text("models.vectors_frozen", count=f"{embedding.weight.numel():,}"))
