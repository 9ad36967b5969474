"""Tokens with one tag each: named entities, parts of speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.shape import Options, Role, Row, RowError, Shape, Values, name_of


class Tags(Shape):
    """A list of tokens and a list of tags of the same length."""

    name = "tags"
    row_type: ClassVar[RowType] = "tags"
    tasks: ClassVar[tuple[TaskName, ...]] = ("token-classification",)
    roles: ClassVar[dict[str, Role]] = {
        "tokens": Role(("words",)),
        "tags": Role(("ner_tags", "upos", "pos_tags", "labels", "ner", "pos")),
    }

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether both are lists of one length."""
        tokens, tags = values.get(columns["tokens"]), values.get(columns["tags"])
        return isinstance(tokens, list) and isinstance(tags, list) and len(tokens) == len(tags)

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``tokens`` and ``tags``."""
        tokens = _list(values, columns["tokens"])
        tags = _list(values, columns["tags"])
        if len(tokens) != len(tags):
            raise RowError("columns", f"{len(tokens)} tokens but {len(tags)} tags")
        if not all(isinstance(token, str) and token.strip() for token in tokens):
            raise RowError("type", "a token is empty or no text")
        return {"tokens": tokens, "tags": [name_of(tag, columns["tags"], options) for tag in tags]}


def _list(values: Values, column: str) -> list[Any]:
    value = values.get(column)
    if not value:
        raise RowError("missing", f'"{column}" is empty')
    if not isinstance(value, list):
        raise RowError("type", f'"{column}" is not a list')
    return value


TAGS = Tags()
