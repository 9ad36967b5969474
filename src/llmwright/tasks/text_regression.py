"""Text regression: a number for a text, or for two.

The model works with numbers of mean 0 and spread 1, as the training rows' become with the mean and
standard deviation in the contract; users only meet the numbers they gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmwright.data.records import Numbers, Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import Batch, Example, Output, Task, pad_inputs, stacked_labels, value_of
from llmwright.tasks.text_classification import encode_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DIGITS = 6


class TextRegression(Task):
    """Rows ``text``, perhaps ``text_pair``, with ``value``."""

    name: ClassVar[str] = "text-regression"
    row_types: ClassVar[tuple[str, ...]] = ("regression",)
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    objective: ClassVar[str] = "regression"
    metrics: ClassVar[tuple[str, ...]] = ("pearson", "spearman", "rmse", "mae")
    decides: ClassVar[bool] = False
    judges: ClassVar[bool] = False

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the text with its number, standardised."""
        numbers = numbers_of(contract)
        value = (float(value_of(row, "value", contract)) - numbers.mean) / numbers.std
        read = self.encode_input(row, tokenizer, contract)
        return replace(read, labels=np.array(value, dtype=np.float32))

    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return the text, or both texts, framed by the tokenizer and cut to ``max_length``."""
        return encode_texts(row, tokenizer, contract)

    def collate(self, examples: Sequence[Example], contract: Contract) -> Batch:
        """Return padded inputs, and labels (B)."""
        return pad_inputs(examples, contract) | stacked_labels(examples)

    def has_target(self, example: Example) -> bool:
        """Say whether there is a number; each is one to learn."""
        return example.labels is not None and len(example.input_ids_T) > 0

    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return the number in the user's own unit."""
        assert output.logits is not None
        numbers = numbers_of(contract)
        value = float(output.logits[0]) * numbers.std + numbers.mean
        return {"value": round(value, DIGITS)}

    def reference(self, row: Row) -> Any:
        """Return the row's number."""
        return float(row["value"])


def numbers_of(contract: Contract) -> Numbers:
    """Return mean and spread of the training rows' numbers; 0 and 1 where nothing is known."""
    return contract.numbers or Numbers(mean=0, std=1, min=0, max=0)
