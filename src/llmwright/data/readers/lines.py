"""Reading text files line by line, in any encoding, without holding a huge line in memory."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from llmwright.core.errors import InputError

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


class Meter:
    """How many bytes of its files were read from the disk."""

    done_bytes = 0


class _Metered(io.FileIO):
    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path)
        self._meter = meter

    def readinto(self, buffer: Any) -> int | None:
        read = super().readinto(buffer)
        self._meter.done_bytes += read or 0
        return read

    def readall(self) -> bytes:
        content = super().readall()
        self._meter.done_bytes += len(content)
        return content


class _Unpacked(gzip.GzipFile):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(fileobj=file)
        self.myfileobj = file  # type: ignore[assignment]  # closed together with this
        self._path = path

    def read(self, size: int | None = -1) -> bytes:
        with _gzip_errors(self._path):
            return super().read(size)

    def read1(self, size: int = -1) -> bytes:
        with _gzip_errors(self._path):
            return super().read1(size)


@contextlib.contextmanager
def _gzip_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError("DATA-025", path=path) from error


def open_bytes(path: Path, meter: Meter | None = None) -> BinaryIO:
    """Open a file for reading bytes, unpacking gzip.

    Reading raises InputError where the gzip is cut off or damaged (``DATA-025``).
    """
    file = cast(BinaryIO, io.BufferedReader(_Metered(path, meter or Meter())))
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(BinaryIO, _Unpacked(file, path)) if packed else file


def open_text(
    path: Path, encoding: str, *, keep_newlines: bool = False, meter: Meter | None = None
) -> io.TextIOWrapper:
    """Open a file for reading text; bytes that cannot be decoded become lone surrogates.

    Args:
        path: The file, gzipped or not.
        encoding: Codec name.
        keep_newlines: Whether a carriage return before a newline stays.
        meter: Counts what is read.
    """
    newline = "" if keep_newlines else None
    return io.TextIOWrapper(open_bytes(path, meter), encoding, "llmwright.mark", newline)


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
