"""What a document is, whatever file it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmwright.core.errors import InputError
from llmwright.data.encoding import find_encoding
from llmwright.data.readers.lines import open_text, text_problem


@dataclass(frozen=True)
class Section:
    """A stretch of a document below one heading.

    Attributes:
        start: First character.
        end: Behind the last one.
        heading: The headings above it from the outermost on, joined; empty when there is none.
    """

    start: int
    end: int
    heading: str = ""


@dataclass(frozen=True)
class Document:
    """A text with its parts.

    Attributes:
        text: All of it. Offsets of passages count its characters, a line end as one.
        sections: Its parts in order; they do not overlap.
        row: 1-based number of the row it is of a table; None where it is a whole file.
    """

    text: str
    sections: tuple[Section, ...]
    row: int | None = None


@dataclass
class SourceFile:
    """A file of the folder.

    Attributes:
        path: Where it is.
        name: Its path within the folder, with forward slashes.
        columns: Columns of its rows that are read; all with text when empty.
        num_rejected: Rows that could not be read, counted while it is read.
    """

    path: Path
    name: str
    columns: Sequence[str] = ()
    num_rejected: int = field(default=0, compare=False)


# Yields the documents of a file; raises InputError where nothing of it can be used.
DocumentReader = Callable[[SourceFile], Iterator[Document]]


def refuse_packed(file: SourceFile) -> None:
    """Refuse a gzip file, whatever it is called: the limit of size is about what is read.

    Raises:
        InputError: It is one (``KNOW-004``).
    """
    with file.path.open("rb") as stream:
        if stream.read(2) == b"\x1f\x8b":
            raise InputError("KNOW-004", path=file.name, reason="gzip")


def text_of(file: SourceFile) -> str:
    """Return the text of a file, whatever its encoding, with newlines as line ends.

    Raises:
        InputError: It is empty (``DATA-013``), no text in a known encoding (``DATA-015``), packed,
            or has characters that no text has (``KNOW-004``).
    """
    refuse_packed(file)
    encoding = find_encoding(file.path, file.name)
    with open_text(file.path, encoding) as stream:
        text = stream.read()
    if problem := text_problem(text):
        raise InputError("KNOW-004", path=file.name, reason=problem[1])
    return text
