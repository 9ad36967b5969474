"""The texts in a dataset's rows, whatever their type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from llmwright.data.records import Dataset, RowType
from llmwright.tokenization.special import CHAT_ROLES

Text = str | list[str]

# Columns that hold text the model reads or writes; labels and bookkeeping are not among them.
TEXT_COLUMNS: dict[RowType, tuple[str, ...]] = {
    "text": ("text",),
    "pair": ("input", "target"),
    "messages": ("messages",),
    "classification": ("text", "text_pair"),
    "regression": ("text", "text_pair"),
    "tags": ("tokens",),
    "preference": ("prompt", "chosen", "rejected"),
    "flag": ("prompt", "completion"),
}
_TELL_ROWS = 20_000


def has_chat(row_type: RowType) -> bool:
    """Say whether rows of this type hold conversations, which need a chat template."""
    return row_type in ("messages", "preference", "flag")


def texts_of(row: dict[str, Any], row_type: RowType) -> list[Text]:
    """Return the texts of one canonical row, empty ones left out.

    The words of a tagged row are one text that is a list, because they are encoded one by one.
    """
    if row_type == "tags":
        return [row["tokens"]]
    return [text for role, text in _spoken(row, row_type) if text]


def _spoken(row: dict[str, Any], row_type: RowType) -> Iterator[tuple[str, str]]:
    """Yield who speaks, where it is a conversation, and what is said."""
    for value in (row.get(column) for column in TEXT_COLUMNS[row_type]):
        if isinstance(value, str):
            yield "assistant", value
        for message in value if isinstance(value, list) else ():
            yield str(message["role"]), str(message.get("content") or "")


def training_texts_of(row: dict[str, Any], row_type: RowType) -> Iterator[str]:
    """Yield the texts of one row in the pieces in which they will be encoded.

    Each word of a tagged row comes by itself, and before each message what the chat template
    writes there.
    """
    if row_type == "tags":
        yield from row["tokens"]
        return
    for role, text in _spoken(row, row_type):
        if has_chat(row_type):
            yield f"{role}\n"
        if text:
            yield text


class TrainingTexts:
    """The texts of a training split; each time they are gone through they are read from the disk.

    Args:
        dataset: The dataset.
        tell: Takes the rows read so far and all of them.
    """

    def __init__(self, dataset: Dataset, tell: Callable[[int, int], None]) -> None:
        self._dataset = dataset
        self._tell = tell

    def __iter__(self) -> Iterator[str]:
        info = self._dataset.info
        rows = self._dataset.stream("train", TEXT_COLUMNS[info.row_type])
        for number, row in enumerate(rows, start=1):
            if number % _TELL_ROWS == 0:
                self._tell(number, info.counts["train"])
            yield from training_texts_of(row, info.row_type)
        if has_chat(info.row_type):
            # So that every character of the roles is known, whichever occur here.
            yield from CHAT_ROLES
