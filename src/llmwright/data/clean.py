"""Applying cleaners: to rows in `prepare`, to texts at inference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from llmwright.data.cleaners import Cleaner, RowFilter
from llmwright.data.config import CLEANERS
from llmwright.data.content import all_texts, map_texts

Row = dict[str, Any]


def preprocess(text: str, preprocessing: Sequence[dict[str, Any]]) -> str:
    """Return a text as the training texts were cleaned.

    Args:
        text: What a user sends for inference.
        preprocessing: The list kept in the dataset and in the model's contract: one mapping per
            cleaner, with its ``kind``.

    Raises:
        ConfigError: A cleaner is not installed here (``CORE-011``).
    """
    return _chain(json.dumps(list(preprocessing), sort_keys=True))(text)


@lru_cache(maxsize=32)
def _chain(preprocessing: str) -> Callable[[str], str]:
    configs: list[dict[str, Any]] = json.loads(preprocessing)
    return text_chain([CLEANERS.get(c["kind"]).model_validate(c) for c in configs])


def text_chain(cleaners: Sequence[Cleaner]) -> Callable[[str], str]:
    """Return one function that runs the text-changing cleaners in order."""
    changing = [cleaner.clean for cleaner in cleaners if cleaner.changes_text()]

    def run(text: str) -> str:
        for change in changing:
            text = change(text)
        return text

    return run


class RowCleaner:
    """Cleans rows one after another and says why one has to go.

    Row filters begin afresh for each given split: a test row stays, even where training has the
    same one, since dropping it would change what others measure on that test set.

    Args:
        cleaners: In the order they run; all text changes come before all row filters.
    """

    def __init__(self, cleaners: Sequence[Cleaner]) -> None:
        self.preprocessing = [c.model_dump(mode="json") for c in cleaners if c.changes_text()]
        self._change = text_chain(cleaners) if self.preprocessing else None
        self._cleaners = cleaners
        self._filters: dict[str | None, list[RowFilter]] = {}

    def __call__(self, row: Row, split: str | None = None) -> tuple[Row, str | None]:
        """Return the cleaned row and, when it has to go, the reason.

        Args:
            row: Canonical row.
            split: The split its file was given for.
        """
        if self._change is not None:
            row = map_texts(row, self._change)
            if _is_empty(row):
                return row, "empty_after_cleaning"
        if split not in self._filters:
            found = [cleaner.row_filter() for cleaner in self._cleaners]
            self._filters[split] = [reason_of for reason_of in found if reason_of is not None]
        for reason_of in self._filters[split]:
            reason = reason_of(row)
            if reason is not None:
                return row, reason
        return row, None


def _is_empty(row: Row) -> bool:
    if "tokens" in row:
        return not row["tokens"]
    return any(not text.strip() for text in all_texts(row))
