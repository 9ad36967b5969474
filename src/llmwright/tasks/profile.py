"""What training data looks like in a few figures, kept in the contract to notice drift later.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmwright.data.records import DatasetInfo, Row
from llmwright.tasks.task import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

COUNTED_AT_ONCE = 1 << 20
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def profile_of(
    info: DatasetInfo,
    rows: Sequence[Row],
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerFast,
) -> dict[str, Any]:
    """Return rows, lengths in tokens, shares of labels, vocabulary in use and unknown tokens.

    Args:
        info: What the dataset says.
        rows: The training rows.
        examples: The same rows, encoded.
        tokenizer: Says which token stands for the unknown.
    """
    counts_V = token_counts(examples, len(tokenizer))
    unknown = tokenizer.unk_token_id
    profile: dict[str, Any] = {
        "rows": len(rows),
        "length_tokens": spread([len(example.input_ids_T) for example in examples]),
        "vocabulary_used": int(np.count_nonzero(counts_V)),
        "vocabulary_size": len(tokenizer),
        "unknown_rate": 0.0
        if unknown is None
        else round(float(counts_V[unknown] / counts_V.sum()), 6),
    }
    if info.task == "seq2seq":
        lengths = [len(example.labels) for example in examples if example.labels is not None]
        profile["target_length_tokens"] = spread(lengths)
    if info.labels:
        profile["label_shares"] = label_shares(info, rows)
    if info.row_type == "tags":
        lengths = [len(token) for row in rows for token in row["tokens"]]
        profile["words"] = "characters" if np.mean(lengths) < 1.2 else "words"
    return profile


def token_counts(examples: Sequence[Example], vocabulary: int) -> np.ndarray:
    """Return how often each token occurs (V), without joining all texts in memory."""
    counts_V = np.zeros(vocabulary, dtype=np.int64)
    part: list[np.ndarray] = []
    size = 0
    for index, example in enumerate(examples):
        part.append(example.input_ids_T)
        size += len(example.input_ids_T)
        if size >= COUNTED_AT_ONCE or index == len(examples) - 1:
            counts_V += np.bincount(np.concatenate(part), minlength=vocabulary)
            part, size = [], 0
    return counts_V


def spread(values: Sequence[int]) -> dict[str, float]:
    """Return mean, quantiles and the largest of some counts."""
    figures = {f"p{round(q * 100):02d}": float(np.quantile(values, q)) for q in QUANTILES}
    mean = round(float(np.mean(values)), 3)
    return {"mean": mean, **figures, "max": float(np.max(values))}


def label_shares(info: DatasetInfo, rows: Sequence[Row]) -> dict[str, float]:
    """Return the share of rows, or of tokens when tagging, that has each label."""
    counts: Counter[str] = Counter()
    total = 0
    for row in rows:
        found = row["tags"] if info.row_type == "tags" else _labels(row, info.multi_label)
        counts.update(found)
        total += len(found) if info.row_type == "tags" else 1
    return {label: round(counts[label] / total, 6) for label in info.labels}


def _labels(row: Row, several: bool) -> list[str]:
    return row["labels"] if several else [row["label"]]
