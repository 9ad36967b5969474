"""The passages of a file: what a search finds and cites."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from llmwright.core.errors import LLMwrightError
from llmwright.knowledge.config import DOCUMENT_READERS, KnowledgeConfig
from llmwright.knowledge.documents.document import Document, Section, SourceFile
from llmwright.knowledge.folder import Found, LeftOut, extension_of
from llmwright.knowledge.split import split
from llmwright.knowledge.words import words


@dataclass(frozen=True)
class Passage:
    """A part of a document.

    Attributes:
        source: Path of its file within the folder.
        text: What it says, as it stands in the document.
        start: Its first character in the document.
        end: Behind its last one.
        heading: Headings above it, from the outermost on; empty when there is none.
        row: 1-based number of the row it is of a table; None where the file is one document.
    """

    source: str
    text: str
    start: int
    end: int
    heading: str = ""
    row: int | None = None

    @property
    def searched(self) -> str:
        """What it is found by: its text below its headings, or else below its file's name."""
        title = self.heading or re.sub(r"[-_.]+", " ", PurePosixPath(self.source).stem)
        return f"{title}\n{self.text}"


def read_passages(found: Found, config: KnowledgeConfig) -> tuple[list[Passage], LeftOut | None]:
    """Return the passages of a file, and what to say of it where it could not all be read.

    Args:
        found: The file.
        config: How it is cut.
    """
    file = SourceFile(found.path, found.name, tuple(config.columns))
    try:
        passages = list(_passages(file, config))
    except LLMwrightError as error:
        return [], LeftOut(found.name, "refused", error.message)
    except OSError as error:
        return [], LeftOut(found.name, "unreadable", str(error.strerror))
    if file.num_rejected:
        return passages, LeftOut(found.name, "rows", f"{file.num_rejected:,}")
    return passages, None if passages else LeftOut(found.name, "no_text")


def _passages(file: SourceFile, config: KnowledgeConfig) -> Iterator[Passage]:
    for document in DOCUMENT_READERS.get(extension_of(file.path))(file):
        for section in document.sections:
            yield from _of_section(file.name, document, section, config)


def _of_section(
    name: str, document: Document, section: Section, config: KnowledgeConfig
) -> Iterator[Passage]:
    """Yield the passages of a section that have words to be found by."""
    text = document.text
    for span in split(text, section.start, section.end, config.passage_size, config.overlap):
        said = text[span.start : span.end]
        if words(said):
            yield Passage(name, said, span.start, span.end, section.heading, document.row)
