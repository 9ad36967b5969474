"""What can be set about the documents that a server answers from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from llmwright.core.config import Config, Input, LocalPath
from llmwright.core.locale import text
from llmwright.core.registry import Registry
from llmwright.models.published import PUBLISHED

if TYPE_CHECKING:
    from llmwright.knowledge.documents.document import DocumentReader

# What reads the documents of a file, by the file's extension.
DOCUMENT_READERS: Registry[DocumentReader] = Registry(
    "document_reader",
    {
        "txt": "llmwright.knowledge.documents.text:read_plain",
        "text": "llmwright.knowledge.documents.text:read_plain",
        "rst": "llmwright.knowledge.documents.text:read_plain",
        "md": "llmwright.knowledge.documents.text:read_markdown",
        "markdown": "llmwright.knowledge.documents.text:read_markdown",
        "html": "llmwright.knowledge.documents.html:read_html",
        "htm": "llmwright.knowledge.documents.html:read_html",
        "csv": "llmwright.knowledge.documents.rows:read_rows",
        "tsv": "llmwright.knowledge.documents.rows:read_rows",
        "json": "llmwright.knowledge.documents.rows:read_rows",
        "jsonl": "llmwright.knowledge.documents.rows:read_rows",
        "ndjson": "llmwright.knowledge.documents.rows:read_rows",
        "parquet": "llmwright.knowledge.documents.rows:read_rows",
    },
)


class KnowledgeConfig(Config):
    """The user's documents: which, how they are cut, and when they say nothing."""

    short_form: ClassVar[str] = "folder"

    folder: Annotated[str, LocalPath()]
    """Folder with the documents: text, Markdown, HTML, tables and JSON in any common encoding, also
    in its subfolders. What cannot be read is named at the start."""
    encoder: Annotated[str | None, Input("model|export", True, elsewhere=PUBLISHED)] = None
    """Model whose embeddings also find passages that say it in other words: id, step name, folder
    or hub id of an encoder. Not given: passages are found by their words alone."""
    passages: int = Field(5, ge=1, le=100)
    """Passages that a search returns, and that a writing model is given, where a request does not
    say how many."""
    passage_size: int = Field(200, ge=20, le=4000)
    """Longest passage, in tokens as roughly as this: a Chinese character counts one, four other
    characters count one. Encoders read 256 to 512 tokens."""
    overlap: int = Field(40, ge=0)
    """How much of the end of a passage the next one repeats where a paragraph had to be cut, in the
    same unit; whole sentences only."""
    min_score: float = Field(0.5, ge=0, le=1)
    """Score below which the answer is "I do not know". 0.5 lets about as many wrong answers through
    as it refuses right ones, where half of the questions have an answer; higher is stricter."""
    columns: list[str] = Field([])
    """Columns of tables and JSON rows that are read; all that hold text when empty."""
    max_file_bytes: int = Field(64_000_000, ge=1)
    """Larger files are left out, which is said."""

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> Self:
        if self.overlap > self.passage_size // 2:
            raise ValueError(text("knowledge.overlap", most=self.passage_size // 2))
        return self
