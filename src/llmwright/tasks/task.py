"""What a task is: how rows become tensors, and outputs become answers.

One file per task implements `Task`; training, inference, export and serving know nothing else
about it. Arrays are numpy, so engines without torch can use the same code.

Shapes: B rows, T tokens, L labels, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from llmwright.core.registry import Registry
from llmwright.data.records import DatasetInfo, Row
from llmwright.tasks.contract import Contract

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
        "token-classification": "llmwright.tasks.token_classification:TokenClassification",
        "seq2seq": "llmwright.tasks.seq2seq:Seq2Seq",
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
            or a 0/1 vector of L (multi-label). None when the row has no target.
        word_ids_T: Tagging: index of the row's token each position belongs to, -1 for none.
        truncated: Whether the input had to be cut to `max_length`.
    """

    input_ids_T: np.ndarray
    labels: np.ndarray | None = None
    word_ids_T: np.ndarray | None = None
    truncated: bool = False


@dataclass(frozen=True)
class Output:
    """What an engine returns for one row.

    Attributes:
        logits: Classification ``(L,)``; tagging ``(T, L)``; None for generated text.
        token_ids: Generated tokens, the stop token left out.
        finish_reason: Generation ended at a stop token, at the limit, or at the context's end.
    """

    logits: np.ndarray | None = None
    token_ids: Sequence[int] = ()
    finish_reason: Literal["stop", "length"] = "stop"


class Task(ABC):
    """One kind of problem.

    Attributes:
        name: Registered name.
        row_types: Canonical row types it learns from.
        auto_class: The transformers Auto class that has the right head.
        objective: Default objective, a registered name.
        metrics: Default metrics, registered names.
        selection: Metric of the validation split that picks the best checkpoint, and whether it
            is to be small (``min``) or large (``max``). ``loss`` needs no metric.
        generates: Whether the answer is text written token by token.
    """

    name: ClassVar[str]
    row_types: ClassVar[tuple[str, ...]]
    auto_class: ClassVar[str]
    objective: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    selection: ClassVar[tuple[str, Literal["min", "max"]]] = ("loss", "min")
    generates: ClassVar[bool] = False

    @abstractmethod
    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return a row with its target, as training and scoring see it.

        Raises:
            InputError: A label the model does not know (``TASK-002``) or a missing value.
        """

    @abstractmethod
    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return a row without its target, as inference sees it: generation starts after it."""

    @abstractmethod
    def collate(self, examples: Sequence[Example], contract: Contract) -> Batch:
        """Return right-padded int64 arrays: ``input_ids`` and ``attention_mask`` (B, T), and
        ``labels`` when every example has them (generation and tagging padded with IGNORE).

        Seq2seq also returns ``decoder_input_ids`` made from the labels.
        """

    @abstractmethod
    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return what ``predict`` and the server answer: ``{"label", "scores"}``,
        ``{"labels", "scores"}``, ``{"tags"}`` or ``{"text"}``.
        """

    @abstractmethod
    def reference(self, row: Row) -> Any:
        """Return a row's target in the terms of `answer`: a label, labels, tags or text."""

    def clean(self, text: str, contract: Contract) -> str:
        """Return a raw text after the contract's preprocessing and the tokenizer's steps."""
        from llmwright.data.clean import preprocess
        from llmwright.tokenization.steps import apply_steps

        return apply_steps(contract.text_steps, preprocess(text, contract.preprocessing))


@dataclass(frozen=True)
class ContractRequest:
    """What a task's contract is made from, before training.

    Attributes:
        info: What the dataset says.
        max_length: Longest input in tokens.
        max_target_length: Longest target in tokens (seq2seq).
    """

    info: DatasetInfo
    max_length: int
    max_target_length: int | None = None
