"""Cutting documents into passages: at paragraphs, else at sentences, else wherever it must be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llmwright.knowledge.words import size_of

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
# Behind the signs that end a sentence and the quotes and brackets that close after them. Chinese
# has no space there; in Latin text one follows, or it was an abbreviation or a number.
_SENTENCE_END = re.compile(
    "[。！？…；]+[」』”’）】》\"']*|(?<![.!?])[.!?]++[\"'”’)\\]]*+(?=\\s)"
    "|\n(?=[^\\S\n]*(?:[-*+•·]|\\d{1,9}[.)、])\\s)"
)
# Where a sentence that is too long may be cut, the best first.
_WEAKER = (re.compile(r"\n"), re.compile(r"[，、：,;:]\s*"), re.compile(r"\s+"))


@dataclass(frozen=True)
class Span:
    """A stretch of a text, in characters: ``text[start:end]``.

    Attributes:
        start: First character.
        end: Behind the last one.
    """

    start: int
    end: int


@dataclass(frozen=True)
class _Atom:
    """What is not cut any further, and which paragraph it is of."""

    span: Span
    size: float
    paragraph: int


def split(text: str, start: int, end: int, most: int, overlap: int) -> list[Span]:
    """Return the passages of a stretch of text, in order.

    Args:
        text: The document.
        start: Where the stretch begins.
        end: Where it ends.
        most: Size of the longest passage, as `size_of` counts.
        overlap: Most that a passage repeats of the one before, where a paragraph was cut.
    """
    passages: list[Span] = []
    held: list[_Atom] = []
    for atom in _atoms(text, Span(start, end), most):
        if held and size_of(text[held[0].span.start : atom.span.end]) > most:
            passages.append(_whole(held))
            held = _repeated(held, atom, most, overlap)
        held.append(atom)
    return [*passages, _whole(held)] if held else passages


def _whole(held: list[_Atom]) -> Span:
    return Span(held[0].span.start, held[-1].span.end)


def _repeated(held: list[_Atom], following: _Atom, most: int, overlap: int) -> list[_Atom]:
    """Return the last sentences of a passage that the next one begins with."""
    if held[-1].paragraph != following.paragraph:
        return []
    kept: list[_Atom] = []
    room = min(overlap, most - following.size)
    # The first of them stays behind, or the next passage would hold all of this one.
    for atom in reversed(held[1:]):
        room -= atom.size
        if room < 0 or atom.paragraph != following.paragraph:
            break
        kept.insert(0, atom)
    return kept


def _atoms(text: str, whole: Span, most: int) -> Iterator[_Atom]:
    for number, paragraph in enumerate(_cut(text, whole, _BLANK_LINES)):
        size = size_of(text[paragraph.start : paragraph.end])
        if size <= most:
            yield _Atom(paragraph, size, number)
            continue
        for span in _small(text, _cut(text, paragraph, _SENTENCE_END), most):
            yield _Atom(span, size_of(text[span.start : span.end]), number)


def _small(text: str, spans: Iterable[Span], most: int, level: int = 0) -> Iterator[Span]:
    """Yield the spans, those that are too long cut at weaker and weaker places."""
    for span in spans:
        if size_of(text[span.start : span.end]) <= most:
            yield span
        elif level < len(_WEAKER):
            yield from _small(text, _joined(text, span, _WEAKER[level], most), most, level + 1)
        else:
            yield from _chopped(text, span, most)


def _joined(text: str, whole: Span, place: re.Pattern[str], most: int) -> Iterator[Span]:
    """Yield what lies between weak places, as much of it together as fits."""
    held: Span | None = None
    size = 0.0
    for span in _cut(text, whole, place):
        more = size_of(text[span.start : span.end])
        if held is not None and size + more > most:
            yield held
            held, size = None, 0.0
        held = Span(held.start if held else span.start, span.end)
        size += more
    if held is not None:
        yield held


def _chopped(text: str, whole: Span, most: int) -> Iterator[Span]:
    """Yield parts of a text that has no place to be cut at."""
    start, size = whole.start, 0.0
    for place in range(whole.start, whole.end):
        size += size_of(text[place])
        if size >= most:
            yield Span(start, place + 1)
            start, size = place + 1, 0.0
    if start < whole.end:
        yield Span(start, whole.end)


def _cut(text: str, whole: Span, place: re.Pattern[str]) -> Iterator[Span]:
    """Yield what lies between the ends of all matches, without the white space around it."""
    start = whole.start
    for match in place.finditer(text, whole.start, whole.end):
        yield from _trimmed(text, start, match.end())
        start = match.end()
    yield from _trimmed(text, start, whole.end)


def _trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield Span(start, end)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without the white space between them."""
    spans = _cut(text, Span(0, len(text)), _SENTENCE_END)
    return [text[span.start : span.end] for span in spans]
