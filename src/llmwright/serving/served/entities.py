"""Where tagged words stand in their text, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# How the tags of a label begin: it begins, goes on, ends, or is of one word.
BEGINS, GOES_ON = ("B", "S"), ("I", "E")
NOTHING = "O"
DIGITS = 6


def spans_of(text: str, characters: bool) -> list[tuple[int, int]]:
    """Return where the words of a text stand, as the tagging task cuts it.

    Args:
        text: As the user gives it.
        characters: Whether each character is a word.
    """
    return [found.span() for found in re.finditer(r"\S" if characters else r"\S+", text)]


def entities_of(
    tags: Sequence[str],
    scores: Sequence[float],
    spans: Sequence[tuple[int, int]],
    words: Sequence[str],
    text: str | None,
) -> list[dict[str, Any]]:
    """Return the words that belong together, in order.

    Args:
        tags: One for each word, as ``B-LOC``, ``I-LOC``, ``O``; also with ``E-`` and ``S-``.
        scores: Probability of each tag.
        spans: Where each word begins and ends: characters, or its own place and the next.
        words: The words.
        text: That the spans are in; None where they count words.
    """
    groups: list[list[int]] = []
    before = NOTHING
    for place, tag in enumerate(tags):
        kind, _, label = tag.partition("-")
        _, _, last = before.partition("-")
        if label and (kind in BEGINS or label != last or before[:1] in ("E", "S")):
            groups.append([place])
        elif label:
            groups[-1].append(place)
        before = tag
    return [
        {
            "label": tags[group[0]].partition("-")[2],
            "text": _text(spans, words, text, group),
            "start": spans[group[0]][0],
            "end": spans[group[-1]][1],
            "score": round(sum(scores[place] for place in group) / len(group), DIGITS),
        }
        for group in groups
    ]


def _text(
    spans: Sequence[tuple[int, int]], words: Sequence[str], text: str | None, group: list[int]
) -> str:
    if text is None:
        return " ".join(words[place] for place in group)
    return text[spans[group[0]][0] : spans[group[-1]][1]]


def tells_groups(labels: Sequence[str]) -> bool:
    """Say whether tags tell which words belong together: all but `O` begin with a letter of IOB."""
    kinds = [label.partition("-") for label in labels if label != NOTHING]
    known = (*BEGINS, *GOES_ON)
    return bool(kinds) and all(kind in known and label for kind, _, label in kinds)
