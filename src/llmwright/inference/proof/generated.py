"""Inputs of random tokens: they say nothing about anybody, but exercise a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmwright.data.records import Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.reading import INPUT_COLUMNS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MIN_TOKENS, MAX_TOKENS = 3, 24


def generated_rows(
    tokenizer: PreTrainedTokenizerFast, contract: Contract, count: int, seed: int
) -> list[Row]:
    """Return so many canonical rows, the same ones for the same seed."""
    random = np.random.default_rng(seed)
    special = set(tokenizer.all_special_ids)
    usable = [index for index in range(len(tokenizer)) if index not in special]
    longest = max(MIN_TOKENS + 1, min(MAX_TOKENS, contract.max_length))
    rows: list[Row] = []
    for _ in range(count):
        length = int(random.integers(MIN_TOKENS, longest))
        written = tokenizer.decode(random.choice(usable, length).tolist()).strip() or "a"
        rows.append(_row_of(written, contract))
    return rows


def _row_of(written: str, contract: Contract) -> Row:
    row_type = contract.row_type
    if row_type == "messages":
        return {"messages": [{"role": "user", "content": written}]}
    if row_type == "tags":
        return {"tokens": written.split() or [written]}
    first, *others = INPUT_COLUMNS[row_type]
    return {first: written} | {name: written for name in others if name in contract.fields}
