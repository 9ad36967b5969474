"""What a task is: how rows become tensors, and outputs become answers.

One file per task implements `Task`; training, inference, export and serving know nothing else
about it. Arrays are numpy, so engines without torch can use the same code.

Shapes: B rows, T tokens, L labels, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from llmwright.core.errors import InputError, closest
from llmwright.core.registry import Registry
from llmwright.data.records import DatasetInfo, Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.padding import pad_rows, padded_width
from llmwright.tasks.reading import (
    INPUT_COLUMNS,
    cleaned,
    read_controls,
    read_inputs,
    refuse_missing,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Positions with this label have no loss and no score (the value torch's cross-entropy skips).
IGNORE = -100

Batch = dict[str, np.ndarray]

TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "text-generation": "llmwright.tasks.text_generation:TextGeneration",
        "text-classification": "llmwright.tasks.text_classification:TextClassification",
        "text-regression": "llmwright.tasks.text_regression:TextRegression",
        "token-classification": "llmwright.tasks.token_classification:TokenClassification",
        "seq2seq": "llmwright.tasks.seq2seq:Seq2Seq",
        "fill-mask": "llmwright.tasks.fill_mask:FillMask",
        "reward": "llmwright.tasks.reward:Reward",
        "text-embedding": "llmwright.tasks.text_embedding:TextEmbedding",
    },
)


@dataclass(frozen=True)
class Example:
    """One encoded row.

    Attributes:
        input_ids_T: Token ids the model reads (the encoder's, in seq2seq).
        labels: What is to be predicted, already in the model's terms: token ids or IGNORE per
            position (generation: same length as the input, NOT shifted, as in transformers;
            seq2seq: the target with its end token; tagging: tag index per token), a class index,
            a 0/1 vector of L (multi-label), or a standardised number. None when the row has no
            target.
        word_ids_T: Tagging: index of the row's token each position belongs to, -1 for none.
        token_type_ids_T: Two texts: 0 for the tokens of the first, 1 for those of the second.
        truncated: Whether the input or the target had to be cut.
        extras: What only some encodings need, by name, as a second answer to compare with.
    """

    input_ids_T: np.ndarray
    labels: np.ndarray | None = None
    word_ids_T: np.ndarray | None = None
    token_type_ids_T: np.ndarray | None = None
    truncated: bool = False
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """What an engine returns for one row.

    Attributes:
        logits: Classification ``(L,)``; tagging ``(T, L)``; a vector ``(D,)``; None for generated
            text.
        token_ids: Generated tokens, the stop token left out.
        finish_reason: Generation ended at a stop token, or at the limit.
        text: What the tokens say, where their words ended it; else they are decoded.
    """

    logits: np.ndarray | None = None
    token_ids: Sequence[int] = ()
    finish_reason: Literal["stop", "length"] = "stop"
    text: str | None = None

    def words(self, tokenizer: PreTrainedTokenizerFast) -> str:
        """Return the written text."""
        if self.text is not None:
            return self.text
        text: str = tokenizer.decode(list(self.token_ids), skip_special_tokens=True)
        return text


class Encoding(ABC):
    """How rows become what a model learns from: a task's own, or that of an objective.

    Attributes:
        in_windows: Whether a text longer than the model reads becomes several examples.
        ahead: Tokens at the end of an example that are predicted and never read: 1 where each is
            predicted from those before it.
    """

    in_windows: ClassVar[bool] = False
    ahead: ClassVar[int] = 0

    @abstractmethod
    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return a row with its target, as training and scoring see it.

        Raises:
            InputError: A label the model does not know (``TASK-002``) or a missing value
                (``TASK-003``).
        """

    def encode_parts(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> list[Example]:
        """Return a row as what scoring needs to count each of its targets exactly once.

        One example, except for plain text longer than the model's context: consecutive windows
        that overlap by one token, which is read but not scored again.
        """
        return [self.encode(row, tokenizer, contract)]

    def collate(self, examples: Sequence[Example], contract: Contract) -> Batch:
        """Return right-padded int64 arrays ``input_ids`` and ``attention_mask`` (B, T).

        With ``labels`` when every example has them: padded with IGNORE in generation and tagging,
        a 0/1 float32 array (B, L) where several labels may hold. Seq2seq also returns
        ``decoder_input_ids`` made from the labels.
        """
        batch = pad_inputs(examples, contract, self.ahead)
        labels = [e.labels for e in examples if e.labels is not None]
        if len(labels) == len(examples):
            apart = self.target_length(examples[0]) > 0
            limit = target_limit(contract) if apart else contract.max_length
            batch["labels"] = pad_rows(labels, IGNORE, limit, self.ahead)
        return batch

    def num_tokens(self, example: Example) -> int:
        """Return the tokens that the model reads for one example, its target included."""
        return len(example.input_ids_T) + self.target_length(example)

    def input_length(self, example: Example) -> int:
        """Return the tokens of the longest text that an example has as input."""
        return len(example.input_ids_T)

    def target_length(self, example: Example) -> int:
        """Return the tokens of a target that is a sequence of its own, else 0."""
        return 0

    def widths(self, example: Example, contract: Contract) -> tuple[int, int]:
        """Return the places that one example takes in a batch of its like: input and target."""
        target = self.target_length(example)
        return (
            padded_width(self.input_length(example), contract.max_length, self.ahead),
            padded_width(target, target_limit(contract)) if target else 0,
        )

    def has_target(self, example: Example) -> bool:
        """Say whether a model can learn anything from an example."""
        labels = example.labels
        return (
            labels is not None and len(example.input_ids_T) > 0 and bool((labels != IGNORE).any())
        )

    def document(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> np.ndarray:
        """Return all ids of a plain text, as a stream of texts holds them."""
        return self.encode(row, tokenizer, contract).input_ids_T

    def finish(self, examples: Sequence[Example], contract: Contract) -> Sequence[Example]:
        """Return all examples of a split, each with what it needs of the others."""
        return examples


class Task(Encoding):
    """One kind of problem.

    Attributes:
        name: Registered name.
        row_types: Canonical row types of its inputs, as a contract names them.
        auto_class: The transformers Auto class that has the right head.
        objective: Default objective, a registered name.
        metrics: Default metrics, registered names.
        selection: What picks the best checkpoint on the validation split: ``loss`` or
            ``accuracy`` (share of right predictions), and whether it is to be small (``min``) or
            large (``max``).
        decides: Whether the largest logit is the answer, of a text or of each place.
        judges: Whether a prediction is right or wrong, so that there is an accuracy.
        generates: Whether the answer is text written token by token.
        scores: Whether the right tokens of a row have probabilities (`scored`).
        masks: Whether it needs a token that hides others.
        embeds: Whether the answer is a vector.
        text_field: The input that one bare text stands for.
        takes_blank: Whether an input without a character is one: a text may be begun from nothing.
    """

    name: ClassVar[str]
    row_types: ClassVar[tuple[str, ...]]
    auto_class: ClassVar[str]
    objective: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    selection: ClassVar[tuple[str, Literal["min", "max"]]] = ("loss", "min")
    decides: ClassVar[bool] = True
    judges: ClassVar[bool] = True
    generates: ClassVar[bool] = False
    scores: ClassVar[bool] = False
    masks: ClassVar[bool] = False
    embeds: ClassVar[bool] = False
    text_field: ClassVar[str] = "text"
    takes_blank: ClassVar[bool] = False

    def read(self, values: Mapping[str, Any], contract: Contract) -> Row:
        """Return the canonical row, without a target, of what a user sends under own names.

        It is as clean as the rows of a dataset. All else here takes such rows only.

        Raises:
            InputError: The input is missing or blank (``TASK-003``), or cannot be read
                (``TASK-011``, ``TASK-012``), or a control is none (``TASK-030`` to ``TASK-032``).
        """
        row = cleaned(self.row_of(values, contract), contract)
        self.refuse_missing(row, values, contract)
        if controls := self.controls_of(values, contract):
            row["controls"] = controls
        return row

    def controls_of(self, values: Mapping[str, Any], contract: Contract) -> dict[str, str]:
        """Return how the answer is to be, as far as the user says.

        Raises:
            InputError: As `reading.read_controls`.
        """
        return read_controls(values, contract)

    def refuse_missing(self, row: Row, values: Mapping[str, Any], contract: Contract) -> None:
        """Check that a clean row holds all its input columns.

        Raises:
            InputError: It does not, or one is blank and may not be (``TASK-003``).
        """
        refuse_missing(row, values, contract, self.takes_blank)

    def row_of(self, values: Mapping[str, Any], contract: Contract) -> Row:
        """Return the input columns that are there, under their canonical names."""
        return read_inputs(values, contract)

    def input_of(self, row: Row, contract: Contract) -> Row:
        """Return what of a dataset's row, of whatever type, a model is asked."""
        columns = INPUT_COLUMNS[contract.row_type]
        return {name: row[name] for name in columns if row.get(name) is not None}

    def posed(self, row: Row, contract: Contract) -> Row | None:
        """Return an input as a probe asks it; None where it cannot be one."""
        return row

    def answered(self, example: Example, contract: Contract) -> np.ndarray:
        """Return the places of the input whose outputs are the answer: all of them."""
        return np.arange(len(example.input_ids_T))

    def scored(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> list[Example]:
        """Return a row as scoring reads it, with each right token a label once."""
        return self.encode_parts(row, tokenizer, contract)

    def measured_on(self, info: DatasetInfo) -> bool:
        """Say whether a model can be measured on a dataset."""
        return info.task == self.name

    def metrics_on(self, row_type: str) -> tuple[str, ...]:
        """Return the default metrics on rows of a type."""
        return self.metrics

    @abstractmethod
    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return a row without its target, as inference sees it: generation starts after it."""

    @abstractmethod
    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return what ``predict`` and the server answer.

        That is ``{"label", "scores"}``, ``{"labels", "scores"}``, ``{"value"}``, ``{"score"}``,
        ``{"tokens", "tags", "scores"}``, ``{"text", "finish_reason"}``, ``{"text", "fills"}`` or
        ``{"embedding"}``.
        """

    @abstractmethod
    def reference(self, row: Row) -> Any:
        """Return a row's target in the terms of `answer`: a label, labels, number, tags or text.

        None when there is nothing to compare with (plain text).
        """


def stepped(text: str, contract: Contract) -> str:
    """Return a clean text after the steps right before the tokenizer (word segmentation)."""
    from llmwright.tokenization.steps import apply_steps

    return apply_steps(contract.text_steps, text)


def value_of(row: Row, field: str, contract: Contract) -> Any:
    """Return a canonical row's value.

    Raises:
        InputError: The row lacks it (``TASK-003``); the message has the user's name of it.
    """
    if row.get(field) is not None:
        return row[field]
    raise InputError("TASK-003", field=contract.fields.get(field, field), found=", ".join(row))


def label_index(label: str, contract: Contract) -> int:
    """Return the model's index of a label.

    Raises:
        InputError: The model does not know it (``TASK-002``).
    """
    try:
        return contract.labels.index(label)
    except ValueError:
        hint = closest(str(label), contract.labels)
        raise InputError("TASK-002", label=label, hint=hint) from None


def token_ids(tokenizer: PreTrainedTokenizerFast, text: str, special: bool = True) -> list[int]:
    """Return the ids of one text, never cut.

    Args:
        tokenizer: Any fast tokenizer.
        text: Already clean.
        special: Whether the tokenizer adds the tokens it frames texts with.
    """
    # verbose=False: a text longer than the tokenizer's limit is our own business, not a warning.
    encoding = tokenizer(text, add_special_tokens=special, verbose=False)
    ids: list[int] = encoding["input_ids"]
    return ids


def target_limit(contract: Contract) -> int:
    """Return the longest target in tokens, where it is a sequence of its own."""
    return contract.max_target_length or contract.max_length


def pad_inputs(examples: Sequence[Example], contract: Contract, ahead: int = 0) -> Batch:
    """Return ``input_ids`` padded with the pad token, and the ``attention_mask`` that hides it.

    With ``token_type_ids`` where the model tells two texts apart by them. ``ahead`` as in
    `padded_width`.
    """
    limit, pad = contract.max_length, contract.special_tokens["pad"]
    input_ids_BT = pad_rows([e.input_ids_T for e in examples], pad, limit, ahead)
    lengths_B1 = np.array([[len(e.input_ids_T)] for e in examples])
    mask_BT = (np.arange(input_ids_BT.shape[1]) < lengths_B1).astype(np.int64)
    batch = {"input_ids": input_ids_BT, "attention_mask": mask_BT}
    if contract.token_types:
        types = [e.token_type_ids_T for e in examples]
        rows = [
            np.zeros_like(example.input_ids_T) if types_T is None else types_T
            for example, types_T in zip(examples, types, strict=True)
        ]
        batch["token_type_ids"] = pad_rows(rows, 0, limit, ahead)
    return batch


def stacked_labels(examples: Sequence[Example]) -> Batch:
    """Return ``labels`` of examples that have one value, or one vector, each; else nothing."""
    labels = [example.labels for example in examples if example.labels is not None]
    return {"labels": np.stack(labels)} if len(labels) == len(examples) else {}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities along the last axis, computed in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities
