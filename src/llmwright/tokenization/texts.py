"""The texts in a dataset's rows, whatever their type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmwright.data.records import Dataset, RowType
from llmwright.tokenization.special import CHAT_ROLES

# Columns that hold text the model reads or writes; labels and bookkeeping are not among them.
TEXT_COLUMNS: dict[RowType, tuple[str, ...]] = {
    "text": ("text",),
    "pair": ("input", "target"),
    "messages": ("messages",),
    "classification": ("text", "text_pair"),
    "tags": ("tokens",),
    "preference": ("prompt", "chosen", "rejected"),
    "flag": ("prompt", "completion"),
}


def has_chat(row_type: RowType) -> bool:
    """Say whether rows of this type hold conversations, which need a chat template."""
    return row_type in ("messages", "preference", "flag")


def texts_of(row: dict[str, Any], row_type: RowType) -> list[str]:
    """Return the texts of one canonical row, empty ones left out."""
    found = [text for column in TEXT_COLUMNS[row_type] for text in _strings(row.get(column))]
    return [text for text in found if text]


def _strings(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    # Messages have their content apart; the words of a tagged sentence belong together.
    if value and isinstance(value[0], dict):
        return [str(message.get("content") or "") for message in value]
    return [" ".join(str(item) for item in value)] if value else []


def training_texts(dataset: Dataset) -> Iterator[str]:
    """Yield every text of the training split, and what a chat template writes between them."""
    row_type = dataset.info.row_type
    for row in dataset.rows("train"):
        yield from texts_of(row, row_type)
    if has_chat(row_type):
        yield from CHAT_ROLES
