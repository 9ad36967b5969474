"""Sequence to sequence: an encoder reads one text, a decoder writes another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.controls import led
from llmwright.tasks.task import (
    IGNORE,
    Batch,
    Example,
    Output,
    Task,
    stepped,
    target_limit,
    token_ids,
    value_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Seq2Seq(Task):
    """Rows ``input`` and ``target``."""

    name: ClassVar[str] = "seq2seq"
    row_types: ClassVar[tuple[str, ...]] = ("pair",)
    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    objective: ClassVar[str] = "seq2seq"
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "bleu", "chrf")
    generates: ClassVar[bool] = True
    scores: ClassVar[bool] = True
    text_field: ClassVar[str] = "input"

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the input and, as labels, the target that ends with the end token."""
        read = self.encode_input(row, tokenizer, contract)
        target = stepped(value_of(row, "target", contract), contract)
        ids = target_ids(tokenizer, target)
        limit = target_limit(contract)
        cut = len(ids) > limit
        labels = np.array(ids[:limit], dtype=np.int64)
        return replace(read, labels=labels, truncated=read.truncated or cut)

    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return the input as the encoder reads it, behind what its controls are."""
        return led(self._read_input)(row, tokenizer, contract)

    def _read_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        text = stepped(value_of(row, "input", contract), contract)
        ids = token_ids(tokenizer, text)
        cut = len(ids) > contract.max_length
        if cut:
            ids = tokenizer(text, truncation=True, max_length=contract.max_length)["input_ids"]
        return Example(np.array(ids, dtype=np.int64), truncated=cut)

    def collate(self, examples: Sequence[Example], contract: Contract) -> Batch:
        """Return padded inputs; with targets also ``labels`` and ``decoder_input_ids`` (B, U).

        The decoder reads the labels one place later, behind its start token.
        """
        batch = super().collate(examples, contract)
        if "labels" in batch:
            decoder_BU = np.roll(batch["labels"], 1, axis=1)
            decoder_BU[:, 0] = contract.special_tokens["decoder_start"]
            decoder_BU[decoder_BU == IGNORE] = contract.special_tokens["pad"]
            batch["decoder_input_ids"] = decoder_BU
        return batch

    def target_length(self, example: Example) -> int:
        """Return the tokens of the target, its end token included."""
        return 0 if example.labels is None else len(example.labels)

    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return the written text and why it ended."""
        return {"text": output.words(tokenizer), "finish_reason": output.finish_reason}

    def reference(self, row: Row) -> Any:
        """Return the row's target."""
        return row["target"]


def target_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the ids of a target: what the tokenizer makes of it, and exactly one end token.

    Raises:
        InputError: The tokenizer has no end token (``TASK-008``).
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise InputError("TASK-008", task=Seq2Seq.name)
    ids: list[int] = tokenizer(text_target=text, verbose=False)["input_ids"]
    return ids if ids and ids[-1] == end else [*ids, end]
