"""A text, or a pair of texts, with one label or several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmwright.data.records import RowType, TaskName
from llmwright.data.shapes.shape import (
    TEXT_NAMES,
    Options,
    Role,
    Row,
    RowError,
    Shape,
    Values,
    name_of,
    text_of,
)

FIRST = (*TEXT_NAMES, "sentence1", "premise", "question1")
SECOND = ("text_b", "sentence2", "hypothesis", "question2")
LABEL = (
    "label", "labels", "category", "class", "intent", "sentiment", "emotion", "topic", "tag",
    "is_duplicate", "标签", "类别", "分类",
)  # fmt: skip


class Classification(Shape):
    """One label per row."""

    name = "classification"
    row_type: ClassVar[RowType] = "classification"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-classification",)
    roles: ClassVar[dict[str, Role]] = {
        "text": Role(FIRST),
        "text_pair": Role(SECOND, needed=False),
        "label": Role(LABEL),
    }

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether the texts are texts and the label is one value."""
        texts = [values.get(columns[name]) for name in ("text", "text_pair") if name in columns]
        label = values.get(columns["label"])
        return all(isinstance(text, str | None) for text in texts) and isinstance(
            label, str | int | float | None
        )

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``text``, ``label`` and, for pairs, ``text_pair``."""
        row = texts_of(values, columns)
        row["label"] = name_of(values.get(columns["label"]), columns["label"], options)
        return row


class MultiLabel(Shape):
    """A list of labels per row, or a cell with labels and a separator; it may be empty."""

    name = "multi_label"
    row_type: ClassVar[RowType] = "classification"
    tasks: ClassVar[tuple[TaskName, ...]] = ("text-classification",)
    roles: ClassVar[dict[str, Role]] = {
        "text": Role(FIRST),
        "text_pair": Role(SECOND, needed=False),
        "labels": Role((*LABEL, "tags", "categories", "classes", "emotions", "topics")),
    }

    def fits(self, values: Values, columns: Mapping[str, str]) -> bool:
        """Say whether the labels are a list; separated labels are only taken when asked for."""
        labels = values.get(columns["labels"])
        is_text = isinstance(values.get(columns["text"]), str | None)
        return is_text and isinstance(labels, list) and not any(isinstance(x, dict) for x in labels)

    def convert(self, values: Values, columns: Mapping[str, str], options: Options) -> Row:
        """Return ``text``, ``labels`` (sorted, each once) and, for pairs, ``text_pair``."""
        row = texts_of(values, columns)
        column = columns["labels"]
        value = values.get(column)
        if isinstance(value, str) and not value.strip():
            value = None
        elif isinstance(value, str) and options.label_separator:
            value = [part for part in value.split(options.label_separator) if part.strip()]
        elif isinstance(value, str | int):
            value = [value]
        if value is None:
            raise RowError("missing", f'"{column}" is empty')
        if not isinstance(value, list):
            raise RowError("type", f'"{column}" is not a list of labels')
        row["labels"] = sorted({name_of(item, column, options) for item in value})
        return row


def texts_of(values: Values, columns: Mapping[str, str]) -> Row:
    """Return ``text`` and, for pairs, ``text_pair``.

    Raises:
        RowError: One is missing, empty or no text.
    """
    row: Row = {"text": text_of(values, columns["text"])}
    if "text_pair" in columns:
        row["text_pair"] = text_of(values, columns["text_pair"])
    return row


CLASSIFICATION = Classification()
MULTI_LABEL = MultiLabel()
