"""Does llama.cpp split texts as the model's own tokenizer does?

Our engine sends token ids, so it never matters here. Other programs give the file texts: where
llama.cpp makes other tokens of them, the model answers worse there, and that is said.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmwright.core.errors import InputError
from llmwright.inference.engines.llamacpp.library import ModelSettings, library

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# What tokenizers disagree about: blanks, figures, signs, other scripts, joined characters.
TEXTS = (
    "The quick brown fox, aged 12, jumped over 3.14159 lazy dogs!",
    "  two  blanks\tand a tab\n\nand lines \n",
    "don't I'LL we've it's; e-mail: a_b@c.de https://x.yz/?q=1&r=2",
    "def f(x):\n    return {'a': [x, 1e-3]} # ok\n",
    "今天天气很好，适合出门散步。12345 元！",
    "Größe, naïve café, Ελληνικά, русский, العربية, हिन्दी",
    "👩‍👩‍👧 ☔😀 e\u0301 ﬁ Ａ１ ½",
)
MAX_TEXTS = 64


@dataclass(frozen=True)
class Splitting:
    """How alike two tokenizers split.

    Attributes:
        compared: Texts that were split.
        equal: Those of which both made the same tokens.
        example: A text of which they did not; empty where there is none.
    """

    compared: int
    equal: int
    example: str


def compare_tokens(
    path: Path, tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]
) -> Splitting:
    """Return how often llama.cpp makes the tokens of a file's texts that the tokenizer makes.

    Args:
        path: The GGUF file.
        tokenizer: The model's own.
        texts: Of the model's kind, besides texts of all kinds.

    Raises:
        InputError: llama.cpp cannot read the file (``INFER-044``).
        ResourceError: It is not installed (``INFER-040``), or one we do not know (``INFER-041``).
    """
    lib = library()
    settings = lib.settings(ModelSettings, n_gpu_layers=0, vocab_only=True)
    model = lib.model_load_from_file(str(path).encode(), settings)
    if not model:
        raise InputError("INFER-044", path=path)
    try:
        vocab = lib.model_get_vocab(model)
        chosen = [text for text in [*TEXTS, *texts] if text][:MAX_TEXTS]
        other = [t for t in chosen if split(lib, vocab, t) != _own(tokenizer, t)]
    finally:
        lib.model_free(model)
    return Splitting(len(chosen), len(chosen) - len(other), min(other, key=len, default=""))


def _own(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def split(lib: Any, vocab: int, text: str) -> Sequence[int]:
    """Return llama.cpp's token ids of a text, special tokens among them where they are written."""
    content = text.encode("utf-8", "replace")
    room = len(content) + 16
    ids = (ctypes.c_int32 * room)()
    count = lib.tokenize(vocab, content, len(content), ids, room, False, True)
    return list(ids[: max(0, count)])
