"""Text generation: plain texts, prompts with completions, and conversations.

What is learned: every token of a plain text; of a pair the completion and the end token; of a
conversation the assistant's answers with their stop tokens, but for those the row leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmwright.core.errors import InputError
from llmwright.data.records import Row
from llmwright.tasks import chat
from llmwright.tasks.contract import Contract
from llmwright.tasks.controls import lead, led, prefix_of, told
from llmwright.tasks.judged import is_judged
from llmwright.tasks.preference import encode_last_answer
from llmwright.tasks.reading import alpaca_messages, as_text, read_inputs
from llmwright.tasks.task import (
    IGNORE,
    Example,
    Output,
    Task,
    stepped,
    token_ids,
    value_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class TextGeneration(Task):
    """Rows ``text``, ``input`` and ``target``, or ``messages``."""

    name: ClassVar[str] = "text-generation"
    row_types: ClassVar[tuple[str, ...]] = ("text", "pair", "messages")
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    objective: ClassVar[str] = "causal_lm"
    metrics: ClassVar[tuple[str, ...]] = ("perplexity",)
    generates: ClassVar[bool] = True
    scores: ClassVar[bool] = True
    text_field: ClassVar[str] = "prompt"
    ahead: ClassVar[int] = 1
    takes_blank: ClassVar[bool] = True

    def row_of(self, values: Mapping[str, Any], contract: Contract) -> Row:
        """Return the canonical row of what is to be continued or answered.

        Where the model's own column is missing, a ``prompt`` takes its place, to a chat model as
        what the user says; a chat model also reads Alpaca's columns.
        """
        row = read_inputs(values, contract)
        if row:
            return row
        chats = contract.row_type == "messages"
        messages = alpaca_messages(values) if chats else None
        if messages is not None:
            row = {"messages": messages}
        elif values.get("prompt") is not None and "prompt" not in contract.fields.values():
            text = as_text(values, "prompt")
            turn = {"role": "user", "content": text}
            row = {"messages": [turn]} if chats else {self._column(contract): text}
        return row

    def input_of(self, row: Row, contract: Contract) -> Row:
        """Return the prompt; of a conversation all up to where the assistant answers last."""
        if contract.row_type != "messages":
            return super().input_of(row, contract)
        messages = row["prompt"] if is_judged(row) else row["messages"]
        while messages and messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        return {"messages": [{"role": m["role"], "content": m["content"]} for m in messages]}

    def metrics_on(self, row_type: str) -> tuple[str, ...]:
        """Return the default metrics; of two rival answers also which one is likelier."""
        return (*self.metrics, "preference_accuracy") if row_type == "preference" else self.metrics

    @staticmethod
    def _column(contract: Contract) -> str:
        return "input" if contract.row_type == "pair" else "text"

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the tokens with labels where there is loss, cut to ``max_length``.

        Plain text and conversations lose their end. A pair, and a conversation of which the last
        answer alone is learned, keeps at least half of the room for its prompt, which loses its
        start; an answer that is still too long loses its end.
        """
        return led(self._encode)(row, tokenizer, contract)

    def _encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        limit = contract.max_length
        if contract.row_type == "messages":
            learn = row.get("learn")
            if learn is not None and learn[-1] and not any(learn[:-1]):
                return encode_last_answer(value_of(row, "messages", contract), tokenizer, contract)
            messages = self._messages(row, contract)
            ids_T, labels_T = chat.encode_conversation(tokenizer, messages, learn)
            return Example(ids_T[:limit], labels_T[:limit], truncated=len(ids_T) > limit)
        if contract.row_type == "pair":
            return self._encode_pair(row, tokenizer, contract)
        ids_N = self.document(row, tokenizer, contract)
        return Example(ids_N[:limit], ids_N[:limit], truncated=len(ids_N) > limit)

    def _encode_pair(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        limit = contract.max_length
        prompt = self._prompt_ids(value_of(row, "input", contract), tokenizer, contract)
        target = stepped(value_of(row, "target", contract), contract)
        completion = [*token_ids(tokenizer, target, special=False), end_id(tokenizer)]
        cut = len(prompt) + len(completion) > limit
        if cut:
            completion = completion[: limit - min(len(prompt), limit // 2)]
            prompt = prompt[max(0, len(prompt) - (limit - len(completion))) :]
        ids_T = np.array(prompt + completion, dtype=np.int64)
        labels_T = ids_T.copy()
        labels_T[: len(prompt)] = IGNORE
        return Example(ids_T, labels_T, truncated=cut)

    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return the prompt; one that is too long loses its start, since its end is continued.

        A conversation ends where the assistant is to answer; its last answer, the target, is left
        out.

        Raises:
            InputError: A conversation in which only the assistant speaks (``TASK-013``), or whose
                template is missing or refuses it.
        """
        return led(self._read_input)(row, tokenizer, contract)

    def _read_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        if contract.row_type == "messages":
            messages = self._messages(row, contract)
            while messages and messages[-1]["role"] == "assistant":
                messages = messages[:-1]
            if not messages:
                raise InputError("TASK-013")
            ids = chat.encode_prompt(tokenizer, told(messages, row, contract))
        else:
            text = value_of(row, self._column(contract), contract)
            ids = self._prompt_ids(text, tokenizer, contract)
        # One place must be left for the answer.
        limit = contract.max_length - 1
        kept = np.array(ids[max(0, len(ids) - limit) :], dtype=np.int64)
        return Example(kept, truncated=len(ids) > limit)

    def encode_parts(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> list[Example]:
        """Return plain text as consecutive windows that overlap by one token, others as one."""
        if contract.row_type != "text":
            return [self.encode(row, tokenizer, contract)]
        ids_N = self.document(row, tokenizer, contract)
        prefix_P = prefix_of(row, tokenizer, contract)
        length = contract.max_length - len(prefix_P)
        found = []
        for start in range(0, max(1, len(ids_N) - 1), length - 1):
            ids_T = ids_N[start : start + length]
            labels_T = ids_T.copy()
            # What a window shares with the one before is read again, not scored again.
            labels_T[:1] = IGNORE if start else labels_T[:1]
            found.append(lead(Example(ids_T, labels_T), prefix_P, contract))
        return found

    def has_target(self, example: Example) -> bool:
        """Say whether any token is to be learned; the first is never predicted."""
        return example.labels is not None and bool((example.labels[1:] != IGNORE).any())

    def document(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> np.ndarray:
        """Return all ids of a plain text with its begin and end token, as the stream holds them."""
        ids = self._prompt_ids(value_of(row, "text", contract), tokenizer, contract)
        return np.array([*ids, end_id(tokenizer)], dtype=np.int64)

    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return the written text, without the prompt, and why it ended."""
        return {"text": output.words(tokenizer), "finish_reason": output.finish_reason}

    def reference(self, row: Row) -> Any:
        """Return the completion or the last answer; None for plain text."""
        messages = row.get("messages")
        if messages is None:
            return row.get("target")
        answers = [m["content"] for m in messages if m["role"] == "assistant"]
        return answers[-1] if answers else None

    def _prompt_ids(
        self, text: str, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> list[int]:
        """Return a text's ids behind the begin token, where the model learned one.

        An empty prompt begins as a new text does: behind the begin token, or behind the end of
        the text before it.
        """
        ids = token_ids(tokenizer, stepped(text, contract), special=False)
        begin = tokenizer.bos_token_id if contract.begins_with_bos else None
        if begin is None and not ids:
            begin = tokenizer.eos_token_id
        return ids if begin is None else [begin, *ids]

    def _messages(self, row: Row, contract: Contract) -> chat.Messages:
        return [
            {**message, "content": stepped(message["content"], contract)}
            for message in value_of(row, "messages", contract)
        ]


def end_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """Return the id of the token that ends a text.

    Raises:
        InputError: The tokenizer has none, so a model could never learn to stop (``TASK-008``).
    """
    if tokenizer.eos_token_id is None:
        raise InputError("TASK-008", task=TextGeneration.name)
    return int(tokenizer.eos_token_id)
