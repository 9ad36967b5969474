"""Judged answers as a model that writes learns from them: pairs, and answers with a flag.

Shapes: B rows, T tokens, U tokens of the second text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from llmwright.data.lazy import LazyList
from llmwright.data.records import Row
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract
from llmwright.tasks.controls import led
from llmwright.tasks.judged import conversation
from llmwright.tasks.padding import pad_rows
from llmwright.tasks.task import (
    IGNORE,
    Batch,
    Encoding,
    Example,
    pad_inputs,
    stepped,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Rows that are looked at for one with another prompt.
MAX_TRIES = 16
SECOND_IDS, SECOND_LABELS, FLAG = "second_ids", "second_labels", "flag"


class Judged(Encoding):
    """Examples of two texts; both have labels where an answer is, and nowhere else."""

    ahead: ClassVar[int] = 1

    def input_length(self, example: Example) -> int:
        """Return the tokens of the longer text."""
        return max(len(example.input_ids_T), len(example.extras[SECOND_IDS]))

    def widths(self, example: Example, contract: Contract) -> tuple[int, int]:
        """Return the places of both texts, padded to the longer one."""
        width, _ = super().widths(example, contract)
        return 2 * width, 0

    def num_tokens(self, example: Example) -> int:
        """Return the tokens of both texts."""
        return len(example.input_ids_T) + len(example.extras[SECOND_IDS])

    def has_target(self, example: Example) -> bool:
        """Say whether something of both answers is left to learn."""
        second = example.extras.get(SECOND_LABELS)
        labels = [example.labels, second]
        return all(each is not None and bool((each[1:] != IGNORE).any()) for each in labels)

    def collate(self, examples: Sequence[Example], contract: Contract) -> Batch:
        """Return all first texts and below them all second ones, (2B, T), with their labels."""
        seconds = [Example(e.extras[SECOND_IDS], e.extras[SECOND_LABELS]) for e in examples]
        both = [*examples, *seconds]
        batch = pad_inputs(both, contract, self.ahead)
        labels = [each.labels for each in both if each.labels is not None]
        padded_BT = pad_rows(labels, IGNORE, contract.max_length, self.ahead)
        return {**batch, "labels": padded_BT}


class Pairs(Judged):
    """Rows ``prompt``, ``chosen`` and ``rejected``: the rejected answer is the second text."""

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return both conversations, labels only where the judged answers are.

        Raises:
            InputError: As `chat.encode_conversation`.
        """
        chosen = encode_answer(row, "chosen", tokenizer, contract)
        rejected = encode_answer(row, "rejected", tokenizer, contract)
        return with_second(chosen, rejected)


class Flags(Judged):
    """Rows ``prompt``, ``completion`` and ``flag``.

    The second text is the prompt with the answer of another row: how the model takes answers that
    have nothing to do with their prompt is the reference point of KTO.
    """

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the conversation, labels only where its judged answer is.

        Raises:
            InputError: As `chat.encode_conversation`.
        """
        example = encode_answer(row, "completion", tokenizer, contract)
        flag = np.array([bool(row["flag"])], dtype=np.int64)
        return with_second(replace(example, extras={FLAG: flag}), example)

    def finish(self, examples: Sequence[Example], contract: Contract) -> Sequence[Example]:
        """Return the examples, each with another one's answer as its second text."""
        return WithOthers(examples, contract.max_length)

    def collate(self, examples: Sequence[Example], contract: Contract) -> Batch:
        """Return the texts of `Judged`, and ``flag`` (B): 1 for a good answer, 0 for a bad one."""
        flags_B = np.concatenate([example.extras[FLAG] for example in examples])
        return {**super().collate(examples, contract), FLAG: flags_B}


class WithOthers(LazyList[Example]):
    """Examples, each with the answer to another prompt as its second text; made when asked for.

    That answer is from half a split away: next to each other often stand answers to one prompt.

    Args:
        examples: Of one text each.
        limit: Most tokens of a text.
    """

    def __init__(self, examples: Sequence[Example], limit: int) -> None:
        self._examples, self._limit = examples, limit

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._examples)

    def item(self, place: int) -> Example:
        """Return one example."""
        count, example = len(self), self._examples[place]
        prompt_T = _prompt_of(example)
        for far in range(max(1, count // 2), count // 2 + MAX_TRIES):
            other = self._examples[(place + far) % count]
            if not np.array_equal(prompt_T, _prompt_of(other)):
                break
        return with_second(example, _with_answer_of(example, other, self._limit))


def _prompt_of(example: Example) -> np.ndarray:
    assert example.labels is not None
    return example.input_ids_T[: int(np.flatnonzero(example.labels != IGNORE)[0])]


def encode_answer(
    row: Row, column: str, tokenizer: PreTrainedTokenizerFast, contract: Contract
) -> Example:
    """Return a conversation that ends with one answer, cut to ``max_length``.

    Only that answer, with its stop token, has labels. What is too long loses the beginning of its
    prompt, of which at least half of the room is left, and then the end of the answer.
    """

    def encode(row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        return encode_last_answer(row["messages"], tokenizer, contract)

    return led(encode)(conversation(row, column), tokenizer, contract)


def encode_last_answer(
    messages: chat.Messages, tokenizer: PreTrainedTokenizerFast, contract: Contract
) -> Example:
    """Return a conversation with labels on the answer that it ends with, cut as `encode_answer`."""
    messages = [{**turn, "content": stepped(turn["content"], contract)} for turn in messages]
    learn = [False] * (len(messages) - 1) + [True]
    ids_T, labels_T = chat.encode_conversation(tokenizer, messages, learn)
    limit = contract.max_length
    if len(ids_T) <= limit:
        return Example(ids_T, labels_T)
    start = int(np.flatnonzero(labels_T != IGNORE)[0])
    end = min(len(ids_T), start + limit - min(start, limit // 2))
    return Example(ids_T[:end][-limit:], labels_T[:end][-limit:], truncated=True)


def with_second(first: Example, second: Example) -> Example:
    """Return an example of two texts."""
    assert second.labels is not None
    extras = {**first.extras, SECOND_IDS: second.input_ids_T, SECOND_LABELS: second.labels}
    return replace(first, extras=extras, truncated=first.truncated or second.truncated)


def _with_answer_of(example: Example, other: Example, limit: int) -> Example:
    """Return the prompt of one example with the answer of another."""
    assert other.labels is not None
    prompt_T = _prompt_of(example)
    answer_U = other.labels[other.labels != IGNORE]
    ids_T = np.concatenate([prompt_T, answer_U])
    labels_T = np.concatenate([np.full(len(prompt_T), IGNORE, dtype=np.int64), answer_U])
    return Example(ids_T[:limit], labels_T[:limit])
