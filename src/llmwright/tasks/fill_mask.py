"""Fill-mask: what stood behind each mask of a text; learned from plain texts.

Shapes: T tokens, M masks, V vocabulary.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmwright.core.errors import InputError
from llmwright.data.records import DatasetInfo, Row
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import IGNORE, Example, Output, Task, softmax, stepped, value_of
from llmwright.tokenization.special import USUAL_NAMES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHARE = 0.15
# Of the chosen tokens: behind the mask, and replaced by a random token; the others stay.
MASKED, RANDOM = 0.8, 0.1
NUM_FILLS = 5
# How a continued word begins (WordPiece).
CONTINUES = "##"


class FillMask(Task):
    """Rows ``text``; asked with a mask in it, as ``[MASK]`` or however the tokenizer writes it."""

    name: ClassVar[str] = "fill-mask"
    row_types: ClassVar[tuple[str, ...]] = ("text",)
    auto_class: ClassVar[str] = "AutoModelForMaskedLM"
    objective: ClassVar[str] = "masked_lm"
    metrics: ClassVar[tuple[str, ...]] = ("masked_accuracy", "loss")
    masks: ClassVar[bool] = True
    in_windows: ClassVar[bool] = True
    scores: ClassVar[bool] = True

    def row_of(self, values: Mapping[str, Any], contract: Contract) -> Row:
        """Return the text, its masks as the tokenizer writes them."""
        row = super().row_of(values, contract)
        for known in USUAL_NAMES["mask_token"] if "text" in row else ():
            if contract.mask_token not in row["text"]:
                row["text"] = row["text"].replace(known, contract.mask_token)
        return row

    def read(self, values: Mapping[str, Any], contract: Contract) -> Row:
        """Return the canonical row of what a user sends.

        Raises:
            InputError: As `Task.read`; there is no mask in the text (``TASK-020``).
        """
        row = super().read(values, contract)
        if contract.mask_token not in row["text"]:
            raise InputError("TASK-020", mask=contract.mask_token)
        return row

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the first window of a whole text; what is hidden is decided by the objective."""
        windows = self.encode_parts(row, tokenizer, contract)
        return replace(windows[0], truncated=len(windows) > 1)

    def encode_parts(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> list[Example]:
        """Return a text as consecutive windows without overlap, each framed by the tokenizer."""
        text = stepped(value_of(row, "text", contract), contract)
        encoding = tokenizer(
            text,
            truncation=True,
            max_length=contract.max_length,
            return_overflowing_tokens=True,
            verbose=False,
        )
        windows = [np.array(ids, dtype=np.int64) for ids in encoding["input_ids"]]
        return [Example(ids_T, ids_T) for ids_T in windows]

    def scored(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> list[Example]:
        """Return a text in windows, tokens hidden by what it says: the same ones each time."""
        rng = np.random.default_rng(zlib.crc32(row["text"].encode()))
        found = []
        for window in self.encode_parts(row, tokenizer, contract):
            masked_T, labels_T = mask_tokens(window.input_ids_T, rng, contract, always=True)
            if (labels_T != IGNORE).any():
                found.append(Example(masked_T, labels_T))
        return found

    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return the text, cut to ``max_length`` at its end.

        Raises:
            InputError: No mask is left of it (``TASK-021``).
        """
        mask = contract.mask_token
        parts = [stepped(part, contract) for part in value_of(row, "text", contract).split(mask)]
        # Segmented words are set apart by spaces; elsewhere nothing is added.
        text = (f" {mask} " if contract.text_steps else mask).join(parts)
        ids = tokenizer(text, verbose=False)["input_ids"]
        cut = len(ids) > contract.max_length
        if cut:
            ids = tokenizer(text, truncation=True, max_length=contract.max_length)["input_ids"]
        example = Example(np.array(ids, dtype=np.int64), truncated=cut)
        if not len(self.answered(example, contract)):
            raise InputError("TASK-021", mask=mask, max_length=contract.max_length)
        return example

    def answered(self, example: Example, contract: Contract) -> np.ndarray:
        """Return the places of the masks."""
        places: np.ndarray = np.flatnonzero(example.input_ids_T == contract.special_tokens["mask"])
        return places

    def posed(self, row: Row, contract: Contract) -> Row | None:
        """Return the text with one word, or character, in its middle masked."""
        mask, text = contract.mask_token, row["text"]
        if mask in text:
            return row
        # Characters of which no usual tokenizer makes more tokens than the model reads.
        text = text[: max(2, contract.max_length // 2)]
        middle = len(text) // 2
        start, end = text.rfind(" ", 0, middle) + 1, text.find(" ", middle)
        end = len(text) if end < 0 else end
        if end - start > len(text) // 2 or start >= end:
            start, end = middle, middle + 1
        return {"text": text[:start] + mask + text[end:]} if len(text) > 1 else None

    def measured_on(self, info: DatasetInfo) -> bool:
        """Say whether the rows are plain texts."""
        return info.row_type == "text"

    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return the text with the likeliest tokens in place, and the best five of each mask."""
        assert output.logits is not None
        fills: list[list[dict[str, Any]]] = []
        text = row["text"]
        for chances_V in softmax(output.logits):
            best = np.argsort(-chances_V, kind="stable")[:NUM_FILLS].tolist()
            found = [
                (_written(tokenizer, index), round(float(chances_V[index]), 6)) for index in best
            ]
            fills.append([{"token": token, "score": score} for token, score in found])
            text = _filled(text, contract.mask_token, found[0][0])
        return {"text": text, "fills": fills}

    def reference(self, row: Row) -> Any:
        """Return None: what is hidden is chosen when the text is scored."""
        return None


def _written(tokenizer: PreTrainedTokenizerFast, index: int) -> str:
    """Return a token as it stands in a text, the mark of a continued word kept."""
    token: str = tokenizer.convert_ids_to_tokens(index)
    return token if token.startswith(CONTINUES) else tokenizer.decode([index])


def _filled(text: str, mask: str, token: str) -> str:
    """Return a text with its first mask replaced."""
    before, _, after = text.partition(mask)
    if token.startswith(CONTINUES):
        return before.rstrip() + token.removeprefix(CONTINUES) + after
    return before + (token.lstrip() if not before or before[-1].isspace() else token) + after


def mask_tokens(
    ids_T: np.ndarray,
    rng: np.random.Generator,
    contract: Contract,
    share: float = SHARE,
    always: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids with some tokens hidden, and labels_T: these tokens, IGNORE elsewhere.

    Of the chosen tokens 80 % are masked, 10 % become a random one and 10 % stay, so that a model
    also heeds the tokens that it sees. A text has at least one chosen token, unless it holds
    special tokens only; those are never chosen.

    Args:
        ids_T: One text, with its special tokens and perhaps padding.
        rng: Decides.
        contract: Special tokens, the mask among them, and the size of the vocabulary.
        share: Share of the tokens that are chosen.
        always: Mask each chosen token, as when a model is asked.

    Source: Devlin et al. 2019 (arXiv:1810.04805), section 3.1.
    """
    special = list(contract.special_tokens.values())
    candidates = np.flatnonzero(~np.isin(ids_T, special))
    labels_T = np.full(len(ids_T), IGNORE, dtype=np.int64)
    masked_T = ids_T.copy()
    if not len(candidates):
        return masked_T, labels_T
    count = max(1, round(share * len(candidates)))
    chosen = rng.choice(candidates, count, replace=False)
    labels_T[chosen] = ids_T[chosen]
    fate = np.zeros(count) if always else rng.random(count)
    masked_T[chosen[fate < MASKED]] = contract.special_tokens["mask"]
    replaced = chosen[(fate >= MASKED) & (fate < MASKED + RANDOM)]
    masked_T[replaced] = rng.integers(0, contract.profile["vocabulary_size"], len(replaced))
    return masked_T, labels_T
