"""From tokens to the text a user sees: characters, and where stop strings or a sentence end it.

What may still turn out to be the beginning of a stop string is held back until it is known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.inference.engines.engine import Engine
from llmwright.inference.writing.detokenize import Detokenizer
from llmwright.inference.writing.generation import FinishReason, Token, writer_of, written
from llmwright.inference.writing.sampling import Settings
from llmwright.tasks.task import Output

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CLOSING = "\"'”’»）)』」】》\\]"
# Chinese marks end a sentence whatever follows, English ones before white space, and an empty line
# ends a paragraph.
END = re.compile(rf"[。！？｡]+[{CLOSING}]*|[.!?…]+[{CLOSING}]*(?=\s)|(?=\n[ \t]*\n)")
# What stands before a point that ends no sentence: a title, a single letter, a list's number.
NO_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|cf|e\.g|i\.e|Fig|No|[A-Z])|(?:^|\n)[ \t]*\d+)$"
)


@dataclass(frozen=True)
class Said:
    """What one token made known of a text.

    Attributes:
        text: New characters.
        tokens: Of each token that these characters come from what it adds, and what was noted.
        finish_reason: Set when the text ends here.
    """

    text: str
    tokens: tuple[tuple[str, Any], ...] = ()
    finish_reason: FinishReason | None = None


class Speech:
    """Speaks one text token by token.

    Args:
        tokenizer: The model's.
        settings: How the text is written.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, settings: Settings) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._settings = settings
        self._text = ""
        self._told = 0
        self._written = 0
        # Where in the text stop strings, and ends of sentences, are looked for.
        self._stops_from: int | None = None if settings.min_new_tokens else 0
        self._ends_from: int | None = None
        self._tokens: list[tuple[int, str, Any]] = []

    def push(self, token: Token, note: Any = None) -> Said:
        """Return what a token makes known; nothing more may be pushed once a text has ended.

        Args:
            token: The text's next one.
            note: What `Said.tokens` tells of it, if the token is a part of the text.
        """
        place, added = len(self._text), ""
        if token.is_text:
            self._written += 1
            known = token.told.text if token.told else None
            added = self._detokenizer.push(token.token_id) if known is None else known
        if token.finish_reason is not None:
            added += self._detokenizer.end()
        self._text += added
        if token.is_text:
            self._tokens.append((place, added, note))
        self._reach()
        end = self._find_end(whole=token.finish_reason is not None)
        if end is not None:
            return self._tell(end, "stop")
        if token.finish_reason is not None:
            return self._tell(len(self._text), token.finish_reason)
        return self._tell(len(self._text) - self._num_open())

    def _reach(self) -> None:
        """Note from where on the text may end, once enough of it is written."""
        settings = self._settings
        if self._written < settings.min_new_tokens:
            return
        if self._stops_from is None:
            self._stops_from = len(self._text)
        after = settings.end_sentence_after
        if after is not None and self._ends_from is None and self._written >= after:
            self._ends_from = len(self._text)

    def _find_end(self, whole: bool) -> int | None:
        """Return where the text ends, None where it goes on."""
        places = []
        if self._stops_from is not None:
            start = max(self._stops_from, self._told)
            found = [self._text.find(stop, start) for stop in self._settings.stop]
            places += [place for place in found if place >= 0]
        if self._ends_from is not None:
            place = sentence_end(self._text, self._ends_from, whole)
            places += [] if place is None else [max(place, self._told)]
        return min(places, default=None)

    def _num_open(self) -> int:
        """Return how many last characters may be the beginning of a stop string."""
        stops = self._settings.stop
        if not stops or self._stops_from is None:
            return 0
        longest = max(len(stop) for stop in stops) - 1
        room = min(longest, len(self._text) - max(self._stops_from, self._told))
        for length in range(room, 0, -1):
            if any(stop.startswith(self._text[-length:]) for stop in stops):
                return length
        return 0

    def _tell(self, end: int, reason: FinishReason | None = None) -> Said:
        """Give the text out up to a place, with the tokens that are a part of it."""
        everything = reason is not None and end == len(self._text)
        known: list[tuple[str, Any]] = []
        later: list[tuple[int, str, Any]] = []
        for place, added, note in self._tokens:
            if place < end or everything:
                known.append((added, note))
            else:
                later.append((place, added, note))
        self._tokens = later
        text, self._told = self._text[self._told : end], end
        return Said(text, tuple(known), reason)


def sentence_end(text: str, start: int, whole: bool = False) -> int | None:
    """Return where the first sentence ends at or behind a place; None where that is not yet known.

    Args:
        text: What is written.
        start: Ends before it do not count.
        whole: Whether nothing follows the text.
    """
    # A mark just before the place ends its sentence at the place; one that begins earlier still
    # counts where its closing quotes reach it.
    for found in END.finditer(text, max(0, start - 8)):
        end = found.end()
        # Another mark or a closing quote may still follow the last character.
        if end < start or (end == len(text) and not whole):
            continue
        point = found.group().startswith(".") and len(found.group().rstrip(CLOSING)) == 1
        if point and NO_END.search(text, max(0, found.start() - 16), found.start()):
            continue
        return end
    return None


def speak_all(
    engine: Engine,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[np.ndarray],
    settings: Settings,
    places: Sequence[int],
) -> list[Output]:
    """Return the texts of all prompts where their words may end them; else `write_all` will do.

    Raises:
        InputError: A schema became too complex (``INFER-072``).
    """
    speeches = [Speech(tokenizer, settings) for _ in prompts]
    pieces: list[list[str]] = [[] for _ in prompts]
    token_ids: list[list[int]] = [[] for _ in prompts]
    reasons: list[FinishReason] = ["length"] * len(prompts)
    writer = writer_of(engine)
    try:
        for token in written(writer, prompts, [settings] * len(prompts), places):
            if token.failure is not None:
                raise token.failure
            said = speeches[token.row].push(token, token.token_id)
            pieces[token.row].append(said.text)
            token_ids[token.row] += [index for _, index in said.tokens]
            if said.finish_reason is not None:
                reasons[token.row] = said.finish_reason
                writer.drop(token.row)
    finally:
        writer.close()
    return [
        Output(token_ids=ids, finish_reason=reason, text="".join(parts))
        for ids, reason, parts in zip(token_ids, reasons, pieces, strict=True)
    ]
