"""Tables and JSON: each row is a document of its own, its columns below each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmwright.core.errors import ConfigError, closest
from llmwright.data.config import READERS
from llmwright.data.detect import find_format, is_parquet
from llmwright.data.encoding import find_encoding
from llmwright.data.readers.lines import text_problem
from llmwright.data.readers.record import ReadRequest, Record
from llmwright.knowledge.documents.document import Document, Section, SourceFile, refuse_packed


def read_rows(file: SourceFile) -> Iterator[Document]:
    """Yield a document for each row of a table or a JSON file that has text.

    Raises:
        ConfigError: The file has none of the columns that are to be read (``KNOW-005``).
        InputError: It cannot be read (``DATA-013`` to ``DATA-025``).
    """
    refuse_packed(file)
    if is_parquet(file.path):
        name, encoding = "parquet", ""
    else:
        encoding = find_encoding(file.path, file.name)
        name, _ = find_format(file.path, encoding)
    request = ReadRequest(
        path=file.path,
        name=file.name,
        encoding=encoding,
        say=lambda said: None,
        columns=frozenset(file.columns),
    )
    seen: dict[str, None] = {}
    num_rows = 0
    for item in READERS.get(name)(request):
        text = ""
        if isinstance(item, Record):
            seen |= dict.fromkeys(item.values)
            text = text_of_row(item.values, file.columns)
        if text and not text_problem(text):
            num_rows += 1
            yield Document(text, (Section(0, len(text)),), row=item.number)
        else:
            file.num_rejected += 1
    if not num_rows and file.columns and seen and not set(file.columns) & set(seen):
        hint = closest(file.columns[0], seen)
        raise ConfigError("KNOW-005", path=file.name, columns=", ".join(file.columns), hint=hint)


def text_of_row(values: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return what a row says: each column with its name, a single one without.

    Args:
        values: The row.
        columns: Those that are read; all when empty.
    """
    chosen = {name: values.get(name) for name in columns} if columns else dict(values)
    texts = {name: said for name, value in chosen.items() if (said := _said(value))}
    if not any(isinstance(chosen[name], str) for name in texts):
        # Numbers alone say nothing that could be asked for.
        return ""
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"{name}: {said}" for name, said in texts.items())


def _said(value: Any) -> str:
    """Return a cell as text; empty for what has none, as lists and nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()
