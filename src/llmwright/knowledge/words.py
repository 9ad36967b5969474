"""The words that texts are searched by, in English, Chinese and text that mixes both.

Nothing is stemmed: the embeddings find other forms of a word, and a stem that is wrong finds what
nobody asked for. Chinese words are also given as their parts and characters, since jieba may cut a
question otherwise than the passage that answers it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from llmwright.tokenization.jieba_words import words_for_search

# Ideographs: the extensions beyond the basic plane too.
HAN = re.compile("[\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_RUN = re.compile(
    "[\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
    "|[^\\W_\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
# Nobody asks for a longer one; they are hashes and encoded files.
MAX_WORD_CHARS = 64


@cache
def stop_words() -> frozenset[str]:
    """Return the words that say nothing about what a text is about, in English and Chinese."""
    from bm25s.stopwords import STOPWORDS_CHINESE, STOPWORDS_EN_PLUS

    return frozenset(STOPWORDS_EN_PLUS) | frozenset(STOPWORDS_CHINESE)


def words(text: str) -> list[str]:
    """Return the words of a text that it can be found by, in order, without stop words.

    >>> words("The Panthers gave up 308 points")
    ['panthers', 'gave', '308', 'points']
    """
    found: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).casefold()):
        if HAN.match(run):
            found += words_for_search(run)
            found += run
        elif len(run) <= MAX_WORD_CHARS:
            found.append(run)
    stops = stop_words()
    return [word for word in found if word not in stops]


def num_han(text: str) -> int:
    """Return how many Chinese characters a text has."""
    return 0 if text.isascii() else sum(map(len, HAN.findall(text)))


def size_of(text: str) -> float:
    """Return about how many tokens a text takes: a Chinese character one, four others one."""
    han = num_han(text)
    return han + (len(text) - han) / 4


def is_chinese(text: str) -> bool:
    """Say whether a text is mainly written in Chinese characters.

    A Chinese word has about two characters, an English one five and a space.
    """
    return 3 * num_han(text) > sum(char.isalpha() for char in text) - num_han(text)
