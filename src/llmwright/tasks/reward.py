"""Reward: a score for the last answer of a conversation; learned from pairs of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from llmwright.core.errors import InputError
from llmwright.data.records import DatasetInfo, Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.judged import conversation, is_judged
from llmwright.tasks.preference import encode_last_answer
from llmwright.tasks.reading import as_text, read_inputs
from llmwright.tasks.task import Example, Output, Task, value_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DIGITS = 6


class Reward(Task):
    """Rows ``messages`` that end with an answer, or ``prompt`` and ``answer``."""

    name: ClassVar[str] = "reward"
    row_types: ClassVar[tuple[str, ...]] = ("messages",)
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    objective: ClassVar[str] = "reward"
    metrics: ClassVar[tuple[str, ...]] = ("preference_accuracy",)
    decides: ClassVar[bool] = False
    text_field: ClassVar[str] = "answer"

    def row_of(self, values: Mapping[str, Any], contract: Contract) -> Row:
        """Return the conversation, which may be given as ``prompt`` and ``answer``."""
        row = read_inputs(values, contract)
        if not row and values.get("prompt") is not None and values.get("answer") is not None:
            turns = {"user": "prompt", "assistant": "answer"}
            row = {
                "messages": [
                    {"role": role, "content": as_text(values, name)} for role, name in turns.items()
                ]
            }
        return row

    def read(self, values: Mapping[str, Any], contract: Contract) -> Row:
        """Return the canonical row of what a user sends.

        Raises:
            InputError: As `Task.read`; the conversation does not end with an answer (``TASK-022``).
        """
        row = super().read(values, contract)
        if row["messages"][-1]["role"] != "assistant":
            raise InputError("TASK-022")
        return row

    def input_of(self, row: Row, contract: Contract) -> Row:
        """Return the conversation with its answer, of two rival ones the chosen."""
        if is_judged(row):
            row = conversation(row, "chosen")
        turns = row["messages"]
        return {"messages": [{"role": m["role"], "content": m["content"]} for m in turns]}

    def posed(self, row: Row, contract: Contract) -> Row | None:
        """Return the conversation; what ends without an answer is answered by saying it again."""
        turns = row["messages"]
        if turns[-1]["role"] == "assistant":
            return row
        return {**row, "messages": [*turns, {**turns[-1], "role": "assistant"}]}

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the conversation; its target is only how another answer compares."""
        return self.encode_input(row, tokenizer, contract)

    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return the conversation as the chat template writes it, cut as in training.

        One that is too long loses the beginning of its prompt, then the end of its answer.
        """
        messages = value_of(row, "messages", contract)
        return replace(encode_last_answer(messages, tokenizer, contract), labels=None)

    def measured_on(self, info: DatasetInfo) -> bool:
        """Say whether the rows are pairs of answers."""
        return info.row_type == "preference"

    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return the score; only differences between answers to one prompt mean something."""
        assert output.logits is not None
        return {"score": round(float(output.logits[0]), DIGITS)}

    def reference(self, row: Row) -> Any:
        """Return None: a score is right only in comparison."""
        return None
