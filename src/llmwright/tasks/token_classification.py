"""Token classification: one tag for each word of a row, as in named entities or parts of speech.

A tokenizer cuts words into smaller pieces. The first piece carries the word's tag, the others are
ignored, in the loss as in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.reading import as_text, read_inputs
from llmwright.tasks.task import (
    IGNORE,
    Example,
    Output,
    Task,
    label_index,
    softmax,
    stepped,
    value_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NO_WORD = -1


class TokenClassification(Task):
    """Rows ``tokens`` with ``tags``, one for each token."""

    name: ClassVar[str] = "token-classification"
    row_types: ClassVar[tuple[str, ...]] = ("tags",)
    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    objective: ClassVar[str] = "tagging"
    metrics: ClassVar[tuple[str, ...]] = ("seqeval_f1", "token_accuracy")
    selection: ClassVar[tuple[str, Literal["min", "max"]]] = ("accuracy", "max")
    text_field: ClassVar[str] = "tokens"

    def row_of(self, values: Mapping[str, Any], contract: Contract) -> Row:
        """Return the row's tokens; one text is cut as the training tokens were.

        That is at white space, or into characters where the training tokens are characters. It
        may also be given as ``text``.
        """
        row = read_inputs(values, contract)
        if not row and values.get("text") is not None:
            row = {"tokens": as_text(values, "text")}
        tokens = row.get("tokens")
        if isinstance(tokens, str):
            characters = contract.profile.get("words") == "characters"
            cut = [c for c in tokens if not c.isspace()] if characters else tokens.split()
            return {"tokens": cut}
        return row

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the tokens with the index of each word's tag on its first piece."""
        read = self.encode_input(row, tokenizer, contract)
        tags = value_of(row, "tags", contract)
        num_words = len(value_of(row, "tokens", contract))
        if len(tags) != num_words:
            raise InputError("TASK-010", tokens=num_words, tags=len(tags))
        assert read.word_ids_T is not None
        indices = np.array([label_index(tag, contract) for tag in tags], dtype=np.int64)
        labels_T = np.full(len(read.input_ids_T), IGNORE, dtype=np.int64)
        positions = first_pieces(read.word_ids_T)
        labels_T[positions] = indices[read.word_ids_T[positions]]
        return replace(read, labels=labels_T)

    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return the tokens' pieces and the word each belongs to."""
        words = [stepped(word, contract) for word in value_of(row, "tokens", contract)]
        encoding = tokenizer(words, is_split_into_words=True, verbose=False)
        cut = len(encoding["input_ids"]) > contract.max_length
        if cut:
            encoding = tokenizer(
                words, is_split_into_words=True, truncation=True, max_length=contract.max_length
            )
        word_ids = [NO_WORD if word is None else word for word in encoding.word_ids()]
        return Example(
            np.array(encoding["input_ids"], dtype=np.int64),
            word_ids_T=np.array(word_ids, dtype=np.int64),
            truncated=cut,
        )

    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return tag and probability of each word.

        A word without a piece (cut away, or nothing the tokenizer knows) is tagged ``O`` where
        that is a tag, else with the first tag, and has probability 0.
        """
        assert output.logits is not None
        words = list(row["tokens"])
        word_ids_T = self.encode_input(row, tokenizer, contract).word_ids_T
        assert word_ids_T is not None
        nothing = "O" if "O" in contract.labels else contract.labels[0]
        tags, scores = [nothing] * len(words), [0.0] * len(words)
        chances_TL = softmax(output.logits)
        for position in first_pieces(word_ids_T):
            word = word_ids_T[position]
            best = int(output.logits[position].argmax())
            tags[word] = contract.labels[best]
            scores[word] = round(float(chances_TL[position, best]), 6)
        return {"tokens": words, "tags": tags, "scores": scores}

    def reference(self, row: Row) -> Any:
        """Return the row's tags."""
        return list(row["tags"])


def first_pieces(word_ids_T: np.ndarray) -> np.ndarray:
    """Return the positions at which a word begins."""
    previous_T = np.concatenate([[NO_WORD], word_ids_T[:-1]])
    positions: np.ndarray = np.flatnonzero((word_ids_T != NO_WORD) & (word_ids_T != previous_T))
    return positions
