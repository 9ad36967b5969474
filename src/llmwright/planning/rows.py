"""Rows as the model will see them: what it reads, what it learns, which tokens are special.

Shapes: T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmwright.core.locale import text
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract
from llmwright.tasks.preference import FLAG, SECOND_IDS, SECOND_LABELS
from llmwright.tasks.task import IGNORE, Encoding, Example
from llmwright.training.data.batching import describe_rows
from llmwright.training.data.examples import Examples
from llmwright.training.objectives.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NUM_ROWS = 3
# More is not read by anybody; a document may be a whole book.
MAX_SHOWN = 512


@dataclass(frozen=True)
class Piece:
    """Tokens in a row that are treated alike.

    Attributes:
        text: What they stand for.
        learned: Whether the model is to predict them.
        special: Whether they are one of the tokenizer's special tokens.
        num_tokens: How many they are.
    """

    text: str
    learned: bool
    special: bool
    num_tokens: int


@dataclass(frozen=True)
class ShownRow:
    """One row.

    Attributes:
        where: File and row it comes from.
        read: What the model reads; of pairs the prompt with the chosen answer.
        rejected: Of pairs the prompt with the rejected answer; else empty.
        target: What a decoder writes, where that is a text of its own, or what stood where tokens
            are masked or replaced; else empty.
        answer: Label, tags or number to be predicted, or what is said of the answer, where it is no
            text; else empty.
        num_tokens: Tokens of all texts, those that are not shown counted too.
        num_learned: Of these, or of the tags, how many are learned.
        truncated: Whether the row was cut to the model's length.
    """

    where: str
    read: list[Piece]
    rejected: list[Piece]
    target: list[Piece]
    answer: str
    num_tokens: int
    num_learned: int
    truncated: bool


@dataclass(frozen=True)
class StopCheck:
    """Whether the model can learn to stop.

    Attributes:
        tokens: Tokens that end an answer, as text.
        known: Whether the tokenizer knows each of them as one token.
        answers: Answers of the training split.
        without_stop: Of these, how many end otherwise, mostly since their row was cut.
        cut: Of those, how many are of rows that were cut.
        first: Where the first of those comes from.
    """

    tokens: list[str]
    known: bool
    answers: int
    without_stop: int
    cut: int
    first: str = ""

    @property
    def passed(self) -> bool:
        """Whether all is as it must be; rows that were cut are no fault of the template."""
        some = self.without_stop < max(1, self.answers)
        return bool(self.tokens) and self.known and some and self.without_stop == self.cut


class Reader:
    """Shows examples as text.

    Args:
        tokenizer: The model's.
        contract: The model's.
        encoding: Of the rows.
        objective: Masks tokens, where that is how they are learned.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        contract: Contract,
        encoding: Encoding,
        objective: Objective,
    ) -> None:
        self._tokenizer, self._contract = tokenizer, contract
        self._encoding, self._objective = encoding, objective
        self._special = chat.stop_ids(tokenizer) | set(tokenizer.all_special_ids)

    def shown(self, encoded: Examples, index: int) -> ShownRow:
        """Return one example of a split."""
        example = encoded.examples[index]
        ids_T, labels = example.input_ids_T, example.labels
        row = ShownRow(
            where=describe_rows(encoded.rows, [encoded.owners[index]]),
            read=[],
            rejected=[],
            target=[],
            answer="",
            num_tokens=len(ids_T),
            num_learned=0,
            truncated=example.truncated,
        )
        if labels is None:
            return replace(row, read=self._pieces(ids_T, np.zeros(len(ids_T), dtype=bool)))
        if self._contract.task == "fill-mask":
            return self._masked(row, example, index)
        if is_text(labels, example, self._contract):
            return self._written(row, example, encoded.stream)
        read = self._pieces(ids_T, np.zeros(len(ids_T), dtype=bool))
        if self._contract.task == "seq2seq":
            found = labels[labels != IGNORE]
            target = self._pieces(found, np.ones(len(found), dtype=bool))
            tokens = len(ids_T) + len(found)
            return replace(row, read=read, target=target, num_tokens=tokens, num_learned=len(found))
        num_learned = int((np.atleast_1d(labels) != IGNORE).sum())
        return replace(row, read=read, answer=self._answer(labels), num_learned=num_learned)

    def _written(self, row: ShownRow, example: Example, stream: bool) -> ShownRow:
        """Return a text that is learned as it stands; of pairs both texts."""
        assert example.labels is not None
        learned_T = self._learned(example.labels, stream)
        read = self._pieces(example.input_ids_T, learned_T)
        row = replace(row, read=read, num_learned=int(learned_T.sum()))
        if FLAG in example.extras:
            # The second text, another row's answer, is only compared with.
            said = "good" if example.extras[FLAG].item() else "bad"
            return replace(row, answer=text(f"training.answer_{said}"))
        if SECOND_IDS not in example.extras:
            return row
        ids_U = example.extras[SECOND_IDS]
        learned_U = self._learned(example.extras[SECOND_LABELS], stream)
        return replace(
            row,
            rejected=self._pieces(ids_U, learned_U),
            num_tokens=row.num_tokens + len(ids_U),
            num_learned=row.num_learned + int(learned_U.sum()),
        )

    def _learned(self, labels_T: np.ndarray, stream: bool) -> np.ndarray:
        """Return which tokens are learned; of a text that is only scored, none."""
        learned_T: np.ndarray = labels_T != IGNORE
        # Nothing stands before the first token that could predict it.
        learned_T[:1] &= stream
        return learned_T & (self._contract.task != "reward")

    def _masked(self, row: ShownRow, example: Example, index: int) -> ShownRow:
        """Return a text with the masks of the first epoch, and what stood in their places."""
        batch = self._encoding.collate([example], self._contract)
        arrays = self._objective.arrays({**batch, "keys": np.array([[0, index]])})
        learned_T = np.zeros(len(example.input_ids_T), dtype=bool)
        learned_T[arrays["positions"]] = True
        ids_T = arrays["input_ids"][0, : len(learned_T)]
        found = arrays["targets"]
        return replace(
            row,
            read=self._pieces(ids_T, learned_T),
            target=self._pieces(found, np.ones(len(found), dtype=bool)),
            num_learned=len(found),
        )

    def _pieces(self, ids_T: np.ndarray, learned_T: np.ndarray) -> list[Piece]:
        pieces: list[Piece] = []
        ids_T, learned_T = ids_T[:MAX_SHOWN], learned_T[:MAX_SHOWN]
        for start, end in runs(ids_T, learned_T, self._special):
            special = int(ids_T[start]) in self._special
            shown = str(self._tokenizer.decode(ids_T[start:end].tolist()))
            pieces.append(Piece(shown, bool(learned_T[start]), special, end - start))
        return pieces

    def _answer(self, labels: np.ndarray) -> str:
        names = self._contract.labels
        if not names:
            return f"{float(np.ravel(labels)[0]):g}"
        if np.ndim(labels) == 0:
            return names[int(labels)]
        if self._contract.multi_label:
            return ", ".join(name for name, holds in zip(names, labels, strict=True) if holds)
        return " ".join(names[int(tag)] for tag in labels if tag != IGNORE)


def is_text(labels: np.ndarray, example: Example, contract: Contract) -> bool:
    """Say whether labels are tokens of the very text that is read."""
    return (
        not contract.labels
        and labels.shape == example.input_ids_T.shape != (0,)
        and (contract.task != "seq2seq")
    )


def runs(ids_T: np.ndarray, learned_T: np.ndarray, special: set[int]) -> Iterator[tuple[int, int]]:
    """Yield start and end of tokens that are treated alike; a special token stands alone."""
    start = 0
    for end in range(1, len(ids_T) + 1):
        alone = int(ids_T[start]) in special
        if (
            end == len(ids_T)
            or alone
            or int(ids_T[end]) in special
            or learned_T[end] != learned_T[start]
        ):
            yield start, end
            start = end


def sample_rows(encoded: Examples, reader: Reader) -> list[ShownRow]:
    """Return the first, the middle one by length and the longest example of a split."""
    lengths = np.array([len(example.input_ids_T) for example in encoded.examples])
    order = np.argsort(lengths, kind="stable")
    chosen = dict.fromkeys([0, int(order[len(order) // 2]), int(order[-1])])
    others = (index for index in range(len(lengths)) if index not in chosen)
    wanted = [*chosen, *others][: min(NUM_ROWS, len(lengths))]
    return [reader.shown(encoded, index) for index in wanted]


def check_stops(
    encoded: Examples, tokenizer: PreTrainedTokenizerFast, contract: Contract
) -> StopCheck:
    """Return whether each answer of a split ends with a learned stop token."""
    stops = set(contract.stop_token_ids)
    answers, cut, without = 0, 0, []
    for owner, example in zip(encoded.owners, encoded.examples, strict=True):
        ends = last_learned(example)
        answers += len(ends)
        if any(int(token) not in stops for token in ends):
            without.append(owner)
            cut += example.truncated
    names = [str(tokenizer.convert_ids_to_tokens(index)) for index in sorted(stops)]
    known = [tokenizer.convert_tokens_to_ids(name) in stops for name in names]
    first = describe_rows(encoded.rows, without[:1])
    return StopCheck(names, all(known), answers, len(without), cut, first)


def last_learned(example: Example) -> Sequence[int] | np.ndarray:
    """Return the last token of each answer: where learned tokens come to an end."""
    labels = example.labels
    assert labels is not None
    learned_T = labels != IGNORE
    following_T = np.append(learned_T[1:], False)
    found: np.ndarray = labels[learned_T & ~following_T]
    return found
