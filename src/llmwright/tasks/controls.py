"""Styles: how an answer is to be, told by special tokens before the input.

Each control (tone, length class) has a token for each of its values and one, `ANY`, for when
nothing is asked. They are learned like words; what they are is kept in the contract. A chat model
can also be told a style that it did not learn, in its system message.

Shapes: T tokens, P tokens of the controls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from llmwright.data.records import Row
from llmwright.tasks.chat import Messages
from llmwright.tasks.contract import Contract
from llmwright.tasks.reading import ANY, FIELD
from llmwright.tasks.task import IGNORE, Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Encode = Callable[["Row", "PreTrainedTokenizerFast", Contract], Example]


def control_token(name: str, value: str) -> str:
    """Return the token of one value of a control."""
    return f"<|{name}:{value}|>"


def ensure_controls(
    tokenizer: PreTrainedTokenizerFast, controls: Mapping[str, Sequence[str]]
) -> int:
    """Give a tokenizer the tokens of all controls; return how many it lacked."""
    from tokenizers import AddedToken

    wanted = [control_token(name, v) for name in controls for v in (ANY, *controls[name])]
    tokens = [AddedToken(token, special=True, normalized=False) for token in wanted]
    return int(tokenizer.add_tokens(tokens, special_tokens=True))


def without_some(rows: Iterable[Row], share: float, seed: int) -> list[Row]:
    """Return the rows, each control left out of some: so a model learns to do without.

    Args:
        rows: With ``controls``.
        share: Share of the rows, for each control.
        seed: Decides which.
    """
    rng = np.random.default_rng(seed)
    return [
        {
            **row,
            FIELD: {
                name: None if dropped else value
                for (name, value), dropped in zip(
                    row[FIELD].items(), rng.random(len(row[FIELD])) < share, strict=True
                )
            },
        }
        for row in rows
    ]


def prefix_of(row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> np.ndarray:
    """Return the tokens of a row's controls, in the order of the contract."""
    given = row.get(FIELD) or {}
    # A value that training lacks, which `prepare` says, is none to the model.
    asked = {n: given.get(n) if given.get(n) in v else ANY for n, v in contract.controls.items()}
    tokens = [control_token(name, value or ANY) for name, value in asked.items()]
    return np.array(tokenizer.convert_tokens_to_ids(tokens), dtype=np.int64)


def led(encode: Encode) -> Encode:
    """Return an encoding that puts the controls before what another one makes.

    They stand behind a token that begins the text, and take their room from the longest input.
    """

    def encoded(row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        if not contract.controls:
            return encode(row, tokenizer, contract)
        prefix_P = prefix_of(row, tokenizer, contract)
        length = contract.max_length - len(prefix_P)
        example = encode(row, tokenizer, contract.model_copy(update={"max_length": length}))
        return lead(example, prefix_P, contract)

    return encoded


def lead(example: Example, prefix_P: np.ndarray, contract: Contract) -> Example:
    """Return an example with tokens before its input; labels, one for each token, ignore them."""
    ids_T, labels = example.input_ids_T, example.labels
    begins = {contract.special_tokens.get(name) for name in ("bos", "cls")}
    place = int(len(ids_T) > 0 and int(ids_T[0]) in begins)
    if labels is not None:
        nothing_P = np.full(len(prefix_P), IGNORE, dtype=np.int64)
        labels = np.concatenate([labels[:place], nothing_P, labels[place:]])
    return replace(
        example,
        input_ids_T=np.concatenate([ids_T[:place], prefix_P, ids_T[place:]]),
        labels=labels,
    )


def told(messages: Messages, row: Row, contract: Contract) -> Messages:
    """Return a conversation whose system message also says how answers are to be.

    Args:
        messages: The conversation.
        row: Its row, with the styles that are asked for.
        contract: Says what each style is in words.
    """
    asked = row.get(FIELD) or {}
    words = [
        values[asked[name]] for name, values in contract.styles.items() if asked.get(name) in values
    ]
    if not words:
        return messages
    if messages and messages[0]["role"] == "system":
        words.insert(0, messages[0]["content"])
        messages = messages[1:]
    return [{"role": "system", "content": "\n".join(words)}, *messages]
