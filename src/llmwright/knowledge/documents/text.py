"""Plain text and Markdown: the text as it stands in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmwright.knowledge.documents.document import Document, Section, SourceFile, text_of

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_CLOSING_HASHES = re.compile(r"[ \t]#+[ \t]*$")


def read_plain(file: SourceFile) -> Iterator[Document]:
    """Yield the one document of a text file; errors as in `text_of`."""
    text = text_of(file)
    yield Document(text, (Section(0, len(text)),))


def read_markdown(file: SourceFile) -> Iterator[Document]:
    """Yield the one document of a Markdown file, a section below each heading.

    Errors as in `text_of`.
    """
    text = text_of(file)
    yield Document(text, tuple(sections_of(text)))


def sections_of(text: str) -> Iterator[Section]:
    """Yield the sections of a Markdown text: lines that begin with ``#``, not those in code.

    A heading stands in its section's name, and is no part of its text.
    """
    path: list[tuple[int, str]] = []
    start = place = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        found = None if fence else _HEADING.match(line)
        if found:
            yield from _section(text, start, place, path)
            level, title = len(found[1]), _CLOSING_HASHES.sub("", found[2]).strip()
            path = [entry for entry in path if entry[0] < level] + [(level, title)]
            start = place + len(line)
        place += len(line)
    yield from _section(text, start, place, path)


def _section(text: str, start: int, end: int, path: list[tuple[int, str]]) -> Iterator[Section]:
    if text[start:end].strip():
        yield Section(start, end, joined(title for _, title in path))


def joined(titles: Iterator[str]) -> str:
    """Return headings from the outermost on as one."""
    return " > ".join(title for title in titles if title)
