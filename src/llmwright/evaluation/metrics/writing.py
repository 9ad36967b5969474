"""How a text is written, which decides how metrics cut it into words.

The wrong cut makes a figure meaningless: sacrebleu's default takes a Chinese sentence for one
word, and rouge-score's default drops every character that is not a-z or 0-9.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

Writing = Literal["latin", "chinese", "kana", "other"]

# A script must be at least this share of all letters to decide.
DECIDING_SHARE = 0.3
_WORD = re.compile(r"\w+")


def writing_of(texts: Iterable[str]) -> Writing:
    """Return how most of these texts are written: Latin, Chinese, with kana, or other."""
    found = {"latin": 0, "chinese": 0, "kana": 0, "other": 0}
    for text in texts:
        for character in text:
            if character.isalpha():
                found[_script(character)] += 1
    letters = max(1, sum(found.values()))
    if found["kana"] / letters >= DECIDING_SHARE / 3:
        return "kana"
    if found["chinese"] / letters >= DECIDING_SHARE:
        return "chinese"
    return "other" if found["other"] / letters >= DECIDING_SHARE else "latin"


def _script(character: str) -> Writing:
    if character.isascii():
        return "latin"
    code = ord(character)
    if 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x323AF:
        return "chinese"
    if 0x3040 <= code <= 0x30FF:
        return "kana"
    return "latin" if unicodedata.name(character, "").startswith("LATIN") else "other"


class JiebaWords:
    """rouge-score tokenizer for Chinese: jieba words, lower case, without punctuation."""

    def __init__(self) -> None:
        import jieba

        # jieba writes its start-up to stderr, which belongs to the caller.
        jieba.setLogLevel(logging.WARNING)
        self._cut = jieba.lcut

    def tokenize(self, text: str) -> Sequence[str]:
        """Return the words of a text."""
        return [word.lower() for word in self._cut(text) if _WORD.search(word)]


class UnicodeWords:
    """rouge-score tokenizer for other scripts: runs of word characters, lower case."""

    def tokenize(self, text: str) -> Sequence[str]:
        """Return the words of a text."""
        return _WORD.findall(text.lower())


class Characters:
    """rouge-score tokenizer for kana: single letters and digits."""

    def tokenize(self, text: str) -> Sequence[str]:
        """Return the letters of a text."""
        return [character for character in text.lower() if _WORD.match(character)]
