"""Rows of judged answers as conversations: what a model is asked, and what it could answer."""

from __future__ import annotations

from typing import Any

from llmwright.data.records import DatasetInfo, Row

# Row types of judged answers; to the model that learned from them each is a conversation.
JUDGED = ("preference", "flag")


def served(info: DatasetInfo, makes: str = "") -> DatasetInfo:
    """Return what a dataset's rows are to the finished model.

    Args:
        info: What the dataset says.
        makes: Task of the finished model, where it is not the dataset's.
    """
    changes: dict[str, Any] = {"task": makes} if makes else {}
    if info.row_type in JUDGED:
        changes |= {"row_type": "messages", "fields": {"messages": "messages"}}
    return info.model_copy(update=changes)


def conversation(row: Row, answer: str) -> Row:
    """Return the prompt of a judged row with one of its answers, which alone is learned.

    Args:
        row: Has ``prompt`` and the answer.
        answer: Column of the answer: ``chosen``, ``rejected`` or ``completion``.
    """
    prompt: list[dict[str, str]] = row["prompt"]
    turn = {"role": "assistant", "content": row[answer]}
    styles = {"controls": row["controls"]} if row.get("controls") else {}
    return {"messages": [*prompt, turn], "learn": [False] * len(prompt) + [True], **styles}


def is_judged(row: Row) -> bool:
    """Say whether a row holds judged answers, of either type."""
    return row.get("prompt") is not None and "messages" not in row
