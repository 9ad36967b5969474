"""What a reader is given and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llmwright.data.readers.lines import Meter

EXCERPT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file, its values under the user's column names.

    Attributes:
        number: 1-based number among the file's records; a header is not one.
        line: 1-based line where it begins; None where the format has no lines.
        values: Column → value.
    """

    number: int
    line: int | None
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that cannot be used.

    Attributes:
        number: As in `Record`.
        line: As in `Record`.
        reason: Short name that is counted: ``undecodable``, ``nul``, ``too_large``, ``columns``,
            ``quoting``, ``json``, ``missing``, ``type``, ``roles``.
        detail: What exactly, in English, since it becomes part of the artifact.
        excerpt: The beginning of the record.
    """

    number: int
    line: int | None
    reason: str
    detail: str
    excerpt: str = ""


def excerpt_of(text: str) -> str:
    """Return the beginning of a text; bytes that could not be decoded are written as escapes."""
    return text[:EXCERPT_CHARS].encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class ReadRequest:
    """A file to read and everything that was found or set about it.

    Attributes:
        path: The file.
        name: What messages and rows call it.
        encoding: Codec name.
        say: Takes a sentence for the user: what was found by content.
        delimiter, quoted, header, json_path, document: As in `PrepareConfig`; None: to be found.
        columns: Column names the user spoke of; they help to tell a header from data.
        max_record_bytes: Records of more characters are rejected.
        meter: Counts what the reader takes from the disk, for the progress bar.
    """

    path: Path
    name: str
    encoding: str
    say: Callable[[str], None]
    delimiter: str | None = None
    quoted: bool | None = None
    header: bool | None = None
    json_path: str | None = None
    document: Literal["line", "paragraph", "file"] = "file"
    columns: frozenset[str] = field(default_factory=frozenset)
    max_record_bytes: int = 16 * 1024 * 1024
    meter: Meter = field(default_factory=Meter)


Reader = Callable[[ReadRequest], Iterator[Record | Rejection]]
