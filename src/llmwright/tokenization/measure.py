"""How well a tokenizer fits texts: length, unknown tokens, coverage, exact round trips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from llmwright.tokenization.steps import apply_steps, steps_of
from llmwright.tokenization.texts import Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Texts that are measured; taken evenly from a larger split, so that measuring takes seconds.
MAX_TEXTS = 5000

# One word: a run of letters and digits, but each Chinese character by itself, since Chinese
# writes no spaces between words.
WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+")


T = TypeVar("T")


def sample(texts: Sequence[T], max_texts: int = MAX_TEXTS) -> list[T]:
    """Return at most ``max_texts`` texts, evenly spaced, always the same ones."""
    if len(texts) <= max_texts:
        return list(texts)
    return [texts[int(index)] for index in np.linspace(0, len(texts) - 1, max_texts)]


def measure(tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text]) -> dict[str, Any]:
    """Return figures about a tokenizer on these texts.

    Special tokens around a text are not counted.

    Args:
        tokenizer: The tokenizer; its text steps are run first.
        texts: Raw texts; a list of words is encoded word by word, as tagging does.

    Returns:
        ``num_texts``, ``num_characters``, ``num_words``, ``num_tokens``; ``tokens_per_character``
        and ``tokens_per_word``; ``unknown_rate`` (unknown tokens / tokens); ``coverage`` (share of
        characters that are not inside an unknown token); ``exact`` (share of texts that decode to
        themselves, for words apart from white space); ``tokens_per_text`` (mean, median, 95 %,
        longest); ``vocabulary_used`` (share of entries that occur). A ratio over nothing is None.
    """
    steps, unknown = steps_of(tokenizer), tokenizer.unk_token_id
    lengths: list[int] = []
    used: set[int] = set()
    characters = words = unknown_tokens = covered = exact = prepared_characters = 0
    for text in texts:
        is_words = not isinstance(text, str)
        parts = [text] if isinstance(text, str) else text
        prepared = [apply_steps(steps, part) for part in parts]
        encoded = tokenizer(
            prepared if is_words else prepared[0],
            is_split_into_words=is_words,
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        ids = encoded["input_ids"]
        hidden = [o for i, o in zip(ids, encoded["offset_mapping"], strict=True) if i == unknown]
        lengths.append(len(ids))
        used.update(ids)
        characters += sum(map(len, parts))
        words += len(parts) if is_words else len(WORD.findall(parts[0]))
        num_prepared = sum(map(len, prepared))
        prepared_characters += num_prepared
        unknown_tokens += len(hidden)
        covered += num_prepared - sum(end - start for start, end in hidden)
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        exact += _bare(decoded) == _bare("".join(parts)) if is_words else decoded == text
    tokens = sum(lengths)
    return {
        "num_texts": len(texts),
        "num_characters": characters,
        "num_words": words,
        "num_tokens": tokens,
        "tokens_per_character": _ratio(tokens, characters),
        "tokens_per_word": _ratio(tokens, words),
        "unknown_rate": _ratio(unknown_tokens, tokens),
        "coverage": _ratio(covered, prepared_characters),
        "exact": _ratio(exact, len(texts)),
        "tokens_per_text": _spread(lengths),
        "vocabulary_used": _ratio(len(used), len(tokenizer)),
    }


def _bare(text: str) -> str:
    return "".join(text.split())


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole else None


def _spread(lengths: Sequence[int]) -> dict[str, float]:
    if not lengths:
        return {}
    middle, high = np.percentile(lengths, [50, 95])
    mean = round(float(np.mean(lengths)), 2)
    return {"mean": mean, "median": float(middle), "p95": float(high), "max": max(lengths)}
