"""Finding words in text in one pass, however many they are (Aho and Corasick, 1975).

Text is compared in its compatible form (NFKC) without case, each run of white space as one space,
and without characters nobody sees. Each character of that form knows where in the text it is from.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Scripts without spaces between words, and Korean, whose words carry endings: first and last
# code point.
UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x2E80, 0x9FFF),
    (0xA960, 0xA97F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
# Chinese characters that are their own compatible form, without case; most of what is looked at.
HAN = ("\u4e00", "\u9fff")
# Vowels and finals of Korean syllables, and Japanese voice marks, join what is before them.
JOINING = ((0x1160, 0x11FF), (0xFF9E, 0xFF9F))
# Nothing that is written needs more; sorting endless marks would take quadratic time.
MAX_MARKS = 30


@dataclass(frozen=True)
class Plain:
    """A text as it is compared.

    Attributes:
        text: Its characters.
        starts: For each of them, where in the original it begins …
        ends: … and ends.
        settled: Length of the part that no further text can change.
    """

    text: str
    starts: list[int]
    ends: list[int]
    settled: int


def plain(text: str, before: str = "") -> Plain:
    """Return a text as it is compared.

    Args:
        text: The text.
        before: The compared character before it, where there is one.
    """
    found: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    settled = 0
    last = before
    for start, end in _clusters(text):
        settled = len(found)
        for character in _compared(text[start:end]):
            if character == " " and last == " ":
                continue
            last = character
            found.append(character)
            starts.append(start)
            ends.append(end)
    return Plain("".join(found), starts, ends, settled)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of characters together with the marks that join them."""
    start = 0
    for place in range(1, len(text)):
        if place - start > MAX_MARKS or not _joins(text[place]):
            yield start, place
            start = place
    if text:
        yield start, len(text)


def _joins(character: str) -> bool:
    if character < "\u0300" or HAN[0] <= character <= HAN[1]:
        return False
    return unicodedata.combining(character) != 0 or _within(character, JOINING)


def _compared(cluster: str) -> str:
    if cluster.isascii():
        return " " if cluster.isspace() else cluster.lower()
    if len(cluster) == 1 and HAN[0] <= cluster <= HAN[1]:
        return cluster
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", cluster).casefold())
    return "".join(
        " " if character.isspace() else character
        for character in folded
        if unicodedata.category(character) != "Cf"
    )


def _within(character: str, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)


def _is_letter(character: str) -> bool:
    """Say whether a character belongs to a word that spaces or signs end."""
    return character.isalnum() and not _within(character, UNSPACED)


class Matcher:
    """Finds any of some words.

    Args:
        words: The words; those that are empty when compared are left out.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._lengths: list[tuple[int, ...]] = [()]
        self.num_words = 0
        for word in {plain(word).text.strip() for word in words} - {""}:
            self._add(word)
        self._link()

    def _add(self, word: str) -> None:
        self.num_words += 1
        state = 0
        for character in word:
            if character not in self._next[state]:
                self._next[state][character] = len(self._next)
                self._next.append({})
                self._lengths.append(())
            state = self._next[state][character]
        self._lengths[state] = (len(word),)

    def _link(self) -> None:
        """Say of each state where to go on when no word goes on, and how much that still holds."""
        self._fail = [0] * len(self._next)
        self._depth = [0] * len(self._next)
        waiting = deque([0])
        while waiting:
            state = waiting.popleft()
            for character, child in self._next[state].items():
                self._depth[child] = self._depth[state] + 1
                self._fail[child] = self._after(self._fail[state], character) if state else 0
                self._lengths[child] += self._lengths[self._fail[child]]
                waiting.append(child)

    def _after(self, state: int, character: str) -> int:
        while state and character not in self._next[state]:
            state = self._fail[state]
        return self._next[state].get(character, 0)

    def scan(self, text: str, before: str, ended: bool) -> tuple[list[tuple[int, int]], int]:
        """Return where words are, and how much of the text no further text can make a word of.

        Args:
            text: The text.
            before: The compared character before it, empty at the beginning.
            ended: Whether the text goes no further.

        Returns:
            First and last place of each found word, merged where they meet, in order; and a length.
        """
        seen = plain(text, before)
        spans: list[tuple[int, int]] = []
        state = 0
        following, fail, lengths = self._next, self._fail, self._lengths
        for place, character in enumerate(seen.text):
            # As `_after`, written out: this is done for each character of every text.
            while state and character not in following[state]:
                state = fail[state]
            state = following[state].get(character, 0)
            for length in lengths[state]:
                first, end = place - length + 1, place + 1
                if end == len(seen.text) and not ended and _is_letter(character):
                    # It may be the beginning of a longer word of its own.
                    continue
                if self._stands_alone(seen.text, first, end, before):
                    spans.append((seen.starts[first], seen.ends[place]))
        merged = _merged(spans)
        if ended:
            return merged, len(text)
        open_from = min(len(seen.text) - self._depth[state], seen.settled)
        safe = seen.starts[open_from] if open_from < len(seen.starts) else len(text)
        # A found word passes as a whole; one that begins inside of it is no longer to be read.
        return merged, max(safe, merged[-1][1] if merged else 0)

    def _stands_alone(self, text: str, first: int, end: int, before: str) -> bool:
        left = text[first - 1] if first else before
        right = text[end : end + 1]
        begins = not (left and _is_letter(left) and _is_letter(text[first]))
        return begins and not (right and _is_letter(right) and _is_letter(text[end - 1]))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
