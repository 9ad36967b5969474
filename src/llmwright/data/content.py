"""What a canonical row says, as texts: to clean it, measure it and compare it with others."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]

# Where a row comes from is not what it says.
ORIGIN = ("source", "row", "group")
_TEXT_COLUMNS = ("text", "text_pair", "input", "target", "chosen", "rejected", "completion")
_MESSAGE_COLUMNS = ("messages", "prompt")
_INPUT_COLUMNS = ("text", "text_pair", "input")
# All that `input_key` looks at.
KEY_COLUMNS = (*_INPUT_COLUMNS, *_MESSAGE_COLUMNS, "tokens")


def map_texts(row: Row, change: Callable[[str], str]) -> Row:
    """Return the row with every text changed; labels, roles and tags stay.

    A token that becomes empty goes together with its tag.
    """
    changed = dict(row)
    for name in _TEXT_COLUMNS:
        if isinstance(row.get(name), str):
            changed[name] = change(row[name])
    for name in _MESSAGE_COLUMNS:
        if name in row:
            changed[name] = [{**turn, "content": change(turn["content"])} for turn in row[name]]
    if "tokens" in row:
        pairs = [(change(t), tag) for t, tag in zip(row["tokens"], row["tags"], strict=True)]
        changed["tokens"] = [token for token, _ in pairs if token]
        changed["tags"] = [tag for token, tag in pairs if token]
    return changed


def all_texts(row: Row) -> list[str]:
    """Return every text of a row, tokens one by one."""
    texts = [row[name] for name in _TEXT_COLUMNS if isinstance(row.get(name), str)]
    for name in _MESSAGE_COLUMNS:
        texts += [turn["content"] for turn in row.get(name, ())]
    return texts + list(row.get("tokens", ()))


def main_texts(row: Row) -> list[Any]:
    """Return what length bounds measure: the texts, or the token list of a tagged row."""
    return [row["tokens"]] if "tokens" in row else all_texts(row)


def content_key(row: Row) -> bytes:
    """Return a digest of everything a row says, exactly as it is."""
    said = {name: value for name, value in row.items() if name not in ORIGIN}
    return _digest(json.dumps(said, ensure_ascii=False, sort_keys=True))


def input_key(row: Row) -> bytes:
    """Return a digest of what a model would be given, after normalisation.

    Two rows with the same key ask the same question, whatever the answers are; they must not lie
    on two sides of a split. Case, white space and Unicode forms make no difference.
    """
    if "tokens" in row:
        texts = row["tokens"]
    elif "messages" in row or "prompt" in row:
        turns = row.get("messages") or row["prompt"]
        texts = [turn["content"] for turn in turns if turn["role"] != "assistant"]
    else:
        texts = [row[name] for name in _INPUT_COLUMNS if isinstance(row.get(name), str)]
    return _digest("\x00".join(normalised(text) for text in texts))


def normalised(text: str) -> str:
    """Return a text in the form in which two texts count as the same."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
