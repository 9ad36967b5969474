"""Text classification: one label of several, several labels at once, or a label of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from llmwright.data.records import Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import (
    Batch,
    Example,
    Output,
    Task,
    label_index,
    pad_inputs,
    softmax,
    stacked_labels,
    stepped,
    value_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class TextClassification(Task):
    """Rows ``text``, perhaps ``text_pair``, with ``label`` or ``labels``."""

    name: ClassVar[str] = "text-classification"
    row_types: ClassVar[tuple[str, ...]] = ("classification",)
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    objective: ClassVar[str] = "classification"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1_macro")
    selection: ClassVar[tuple[str, Literal["min", "max"]]] = ("accuracy", "max")

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the text with the index of its label, or a 0/1 vector of its labels."""
        read = self.encode_input(row, tokenizer, contract)
        if contract.multi_label:
            labels = np.zeros(len(contract.labels), dtype=np.float32)
            # No label at all is a valid target: an empty list, not a missing one.
            for label in value_of(row, "labels", contract):
                labels[label_index(label, contract)] = 1.0
        else:
            labels = np.array(label_index(value_of(row, "label", contract), contract))
        return replace(read, labels=labels)

    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return the text, or both texts, framed by the tokenizer and cut to ``max_length``."""
        return encode_texts(row, tokenizer, contract)

    def collate(self, examples: Sequence[Example], contract: Contract) -> Batch:
        """Return padded inputs, and labels (B) or (B, L)."""
        return pad_inputs(examples, contract) | stacked_labels(examples)

    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return the label, or the labels above the threshold, and the probability of each."""
        assert output.logits is not None
        logits_L = output.logits
        if contract.multi_label:
            chances_L = 1 / (1 + np.exp(-logits_L.astype(np.float64)))
        else:
            chances_L = softmax(logits_L)
        scores = {
            name: round(float(chance), 6)
            for name, chance in zip(contract.labels, chances_L, strict=True)
        }
        if contract.multi_label:
            labels = [name for name, score in scores.items() if score >= contract.threshold]
            return {"labels": labels, "scores": scores}
        return {"label": contract.labels[int(logits_L.argmax())], "scores": scores}

    def reference(self, row: Row) -> Any:
        """Return the row's label, or its sorted labels."""
        labels = row.get("labels")
        return row["label"] if labels is None else sorted(labels)


def encode_texts(row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
    """Return a text, or two texts, framed by the tokenizer and cut to ``max_length``."""
    text = stepped(value_of(row, "text", contract), contract)
    second = row.get("text_pair")
    pair = stepped(second, contract) if second is not None else None
    encoding = tokenizer(text, pair, return_token_type_ids=True, verbose=False)
    cut = len(encoding["input_ids"]) > contract.max_length
    if cut:
        # Cut the longer text, not the tokens that frame the texts.
        encoding = tokenizer(
            text, pair, return_token_type_ids=True, truncation=True, max_length=contract.max_length
        )
    ids_T, types_T = (
        np.array(encoding[name], dtype=np.int64) for name in ("input_ids", "token_type_ids")
    )
    return Example(ids_T, token_type_ids_T=types_T if pair is not None else None, truncated=cut)
