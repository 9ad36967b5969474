"""Chinese words: jieba cuts the text (a recorded step), a word vocabulary numbers the words.

Source: https://github.com/fxsjy/jieba (prefix dictionary, dynamic programming, HMM for new words).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

from llmwright.tokenization.config import JiebaStep, TokenizeConfig
from llmwright.tokenization.special import Framing
from llmwright.tokenization.wholes import train_words

if TYPE_CHECKING:
    import jieba
    from transformers import PreTrainedTokenizerFast

# White space becomes words of its own, written visibly, because words are parted by single spaces.
MARKS = {" ": "▁", "\n": "↵", "\t": "⇥"}


@cache
def _segmenter() -> jieba.Tokenizer:
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()


def build_step(step: JiebaStep) -> Callable[[str], str]:
    """Return the function that cuts a text into words parted by single spaces."""
    return cut


def cut(text: str) -> str:
    """Return the words of a text, parted by single spaces, its own white space as visible marks.

    >>> cut("我爱 NLP")
    '我 爱 ▁ NLP'
    """
    words = _segmenter().cut(text)
    return " ".join(MARKS.get(word, "▁" if word.isspace() else word) for word in words)


def words_for_search(text: str) -> list[str]:
    """Return the words of a text, long ones also as the shorter words they consist of."""
    found: list[str] = _segmenter().lcut_for_search(text)
    return found


def train_jieba(
    config: TokenizeConfig, texts: Iterable[str], framing: Framing
) -> PreTrainedTokenizerFast:
    """Return a tokenizer over jieba's words; it carries the step that cuts them.

    Args:
        config: `vocab_size`, `min_frequency` and `lowercase` are used.
        texts: Raw training texts (cut here).
        framing: Special tokens and what is put around a text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(unk_token=framing.special.unk))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Words are joined without spaces; the marks say where the text had white space.
    restore = [decoders.Replace(mark, space) for space, mark in MARKS.items()]
    tokenizer.decoder = decoders.Sequence([*restore, decoders.Fuse()])
    words = (cut(text) for text in texts)
    return train_words(tokenizer, config, words, framing, [JiebaStep().model_dump()])
