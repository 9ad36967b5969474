"""The cleaners: each changes texts, removes rows, or both.

A plugin writes a subclass of `Cleaner`, overrides `clean` or `row_filter`, and registers it as a
``cleaner``. What `clean` does to the training texts is recorded in the dataset and repeated at
inference; removing rows happens only in `prepare`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from llmwright.core.config import Kind
from llmwright.core.locale import text
from llmwright.data.content import content_key, main_texts

Row = dict[str, Any]
RowFilter = Callable[[Row], str | None]

# No pattern may look beyond the next bracket: time stays in proportion to the text, whatever it is.
_BLOCKS = [
    (re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        (r"<script\b[^<>]*>", r"</script\s*>"),
        (r"<style\b[^<>]*>", r"</style\s*>"),
        ("<!--", "-->"),
    )
]
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr|/h[1-6])\b[^<>]*>", re.IGNORECASE)
# Python cannot read a number of so many digits; no character has one.
_LONG_REFERENCE = re.compile(r"&#(?:\d{100,}|x[\da-f]{100,});?", re.IGNORECASE | re.ASCII)
# A name must follow the bracket: "a < b" and "<3" are text.
_TAG = re.compile(r"</?[a-z][a-z0-9:-]*(?:\s[^<>]*)?/?>", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_NEWLINES = re.compile(r" ?\n ?(?:\n ?)+")


class Cleaner(Kind):
    """Base of all cleaners."""

    def clean(self, text: str) -> str:
        """Return the cleaned text; it also runs on every text at inference."""
        return text

    def row_filter(self) -> RowFilter | None:
        """Return a fresh function that says why a row goes, or None to keep it.

        It sees rows in reading order, after all texts are cleaned. Returns None when this cleaner
        removes no rows.
        """
        return None

    def changes_text(self) -> bool:
        """Say whether `clean` is overridden, so that inference must repeat it."""
        return type(self).clean is not Cleaner.clean


class HtmlCleaner(Cleaner):
    """Remove HTML tags, comments, scripts and styles; turn entities (``&amp;``) into characters."""

    kind: Literal["html"] = "html"
    """Name of this cleaner."""

    def clean(self, text: str) -> str:
        """Return the text without markup; line-breaking tags become newlines."""
        if "<" in text:
            for opening, closing in _BLOCKS:
                text = _without(text, opening, closing)
            text = _TAG.sub("", _BREAK.sub("\n", text))
        return html.unescape(_LONG_REFERENCE.sub("\ufffd", text)) if "&" in text else text


def _without(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """Return a text without the blocks between two marks; one that never closes stays."""
    kept, position = list[str](), 0
    while (first := opening.search(text, position)) and (last := closing.search(text, first.end())):
        kept.append(text[position : first.start()])
        position = last.end()
    return "".join(kept) + text[position:]


class UnicodeCleaner(Cleaner):
    """Write characters in one form: full-width letters, ligatures and composed accents."""

    kind: Literal["unicode"] = "unicode"
    """Name of this cleaner."""
    form: Literal["NFKC", "NFC"] = "NFKC"
    """Unicode normal form. NFKC also folds full-width letters and Chinese punctuation such as ，
    to half-width; NFC only joins accents with their letters."""

    def clean(self, text: str) -> str:
        """Return the text in the normal form."""
        return text if text.isascii() else unicodedata.normalize(self.form, text)


class ControlCleaner(Cleaner):
    """Remove control and invisible formatting characters; tabs and newlines stay."""

    kind: Literal["control"] = "control"
    """Name of this cleaner."""

    def clean(self, text: str) -> str:
        """Return the text without them; the joiners inside emoji and Indic words stay."""
        if text.isprintable():
            return text
        return "".join(c for c in text if not _is_control(c))


def _is_control(char: str) -> bool:
    category = unicodedata.category(char)
    return (category == "Cc" and char not in "\t\n\r") or (
        category == "Cf" and char not in "\u200c\u200d"
    )


class WhitespaceCleaner(Cleaner):
    """Make runs of spaces one space and runs of blank lines one blank line; trim both ends."""

    kind: Literal["whitespace"] = "whitespace"
    """Name of this cleaner."""

    def clean(self, text: str) -> str:
        """Return the text with plain spaces and newlines only."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = _SPACES.sub(" ", text)
        return _NEWLINES.sub("\n\n", text).replace(" \n", "\n").replace("\n ", "\n").strip()


class DedupeCleaner(Cleaner):
    """Keep the first of rows whose whole content is the same, labels and targets included."""

    kind: Literal["dedupe"] = "dedupe"
    """Name of this cleaner."""

    def row_filter(self) -> RowFilter:
        """Return a function that remembers the rows it saw."""
        seen: set[bytes] = set()

        def reason(row: Row) -> str | None:
            key = content_key(row)
            if key in seen:
                return "duplicate"
            seen.add(key)
            return None

        return reason


class LengthCleaner(Cleaner):
    """Remove rows with a text that is too short or too long; labels are not looked at."""

    kind: Literal["length"] = "length"
    """Name of this cleaner."""
    min: int = Field(1, ge=0)
    """Fewest characters (or tokens of a tagged row) a text may have."""
    max: int | None = Field(None, ge=1)
    """Most characters (or tokens of a tagged row) a text may have; no limit when not given."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError(text("data.max_below_min", max=self.max, min=self.min))
        return self

    def row_filter(self) -> RowFilter:
        """Return a function that measures each text of a row."""

        def reason(row: Row) -> str | None:
            lengths = [len(text) for text in main_texts(row)]
            if min(lengths) < self.min:
                return "too_short"
            return "too_long" if self.max is not None and max(lengths) > self.max else None

        return reason
