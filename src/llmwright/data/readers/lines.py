"""Reading text files line by line, in any encoding, without holding a huge line in memory."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

_SURROGATE = re.compile("[\ud800-\udfff]")
_UNDECODABLE = "\udc80"


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _UNDECODABLE, error.end


# Like "surrogateescape", which UTF-16 does not have: what cannot be decoded becomes a lone
# surrogate, so that the one record around it can be found and rejected.
codecs.register_error("llmwright.mark", _mark)


class Line(NamedTuple):
    """One line of a file.

    Attributes:
        number: 1-based.
        text: With its line end; only the beginning when `cut`.
        cut: The line was longer than allowed and the rest was skipped.
    """

    number: int
    text: str
    cut: bool


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading bytes, unpacking gzip."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def open_text(path: Path, encoding: str, *, keep_newlines: bool = False) -> io.TextIOWrapper:
    """Open a file for reading text; bytes that cannot be decoded become lone surrogates.

    Args:
        path: The file, gzipped or not.
        encoding: Codec name.
        keep_newlines: Whether a carriage return before a newline stays.
    """
    newline = "" if keep_newlines else None
    return io.TextIOWrapper(open_bytes(path), encoding, "llmwright.mark", newline)


def read_lines(stream: io.TextIOBase, max_chars: int) -> Iterator[Line]:
    """Yield the lines of a text file; at most ``max_chars`` characters of one are held."""
    number = 0
    while text := stream.readline(max_chars + 1):
        number += 1
        cut = len(text) > max_chars and text[-1] not in "\r\n"
        if cut:
            text = text[:1000]
            while (rest := stream.readline(max_chars)) and rest[-1] not in "\r\n":
                pass
        yield Line(number, text, cut)


def text_problem(text: str) -> tuple[str, str] | None:
    """Return reason and detail when a text holds undecodable bytes or NUL characters."""
    if "\x00" in text:
        return "nul", f"NUL character at position {text.index(chr(0)) + 1}"
    if not text.isascii() and (found := _SURROGATE.search(text)):
        return "undecodable", f"undecodable bytes at position {found.start() + 1}"
    return None
