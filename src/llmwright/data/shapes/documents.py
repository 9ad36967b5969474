"""Plain documents: one text per row, as a language model reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.shape import TEXT_NAMES, Options, Role, Row, Shape, Values, text_of

# A title is a text, but no document.
_NAMES = tuple(name for name in TEXT_NAMES if name not in ("title", "headline", "标题"))


class Documents(Shape):
    """``{"text": "..."}``; a list of lines, as poems often are, counts as one text."""

    name = "documents"
    row_type: ClassVar[RowType] = "text"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-generation",)
    roles: ClassVar[dict[str, Role]] = {"text": Role((*_NAMES, "paragraphs", "article"))}

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether the value is a text or a list of texts."""
        value = values.get(columns["text"])
        if isinstance(value, list):
            return all(isinstance(item, str) for item in value)
        return value is None or isinstance(value, str)

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``text``."""
        return {"text": text_of(values, columns["text"])}


DOCUMENTS = Documents()
