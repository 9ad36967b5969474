"""Text embedding: a vector for a text, near the vectors of texts that mean the like.

Any model that reads texts has a vector for each token; one of the whole text is made of them the
way the contract says. Engines give the tokens' vectors, so this is the same code for all of them.

Shapes: B rows, T tokens, D size of a vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmwright.core.errors import InputError, closest
from llmwright.data.records import DatasetInfo, Row
from llmwright.tasks.contract import Contract, Embedding
from llmwright.tasks.reading import as_text, cleaned
from llmwright.tasks.task import TASKS, Example, Output, Task, stepped, token_ids, value_of
from llmwright.tasks.text_classification import encode_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DIGITS = 8
# Below it a vector has no direction.
TINY = 1e-12


class TextEmbedding(Task):
    """Rows ``text``; the answer is a vector."""

    name: ClassVar[str] = "text-embedding"
    row_types: ClassVar[tuple[str, ...]] = ("text",)
    auto_class: ClassVar[str] = "AutoModel"
    # Such models are taken as they are: no objective makes one yet.
    objective: ClassVar[str] = ""
    metrics: ClassVar[tuple[str, ...]] = ()
    decides: ClassVar[bool] = False
    judges: ClassVar[bool] = False
    embeds: ClassVar[bool] = True

    def encode(self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> Example:
        """Return the text; there is no target."""
        return self.encode_input(row, tokenizer, contract)

    def encode_input(
        self, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> Example:
        """Return the text behind the default prompt, framed and cut to ``max_length``."""
        return encode_whole(value_of(row, "text", contract), tokenizer, contract)

    def measured_on(self, info: DatasetInfo) -> bool:
        """Say that no dataset has right vectors."""
        return False

    def answer(
        self, output: Output, row: Row, tokenizer: PreTrainedTokenizerFast, contract: Contract
    ) -> dict[str, Any]:
        """Return the vector."""
        assert output.logits is not None
        return {"embedding": [round(float(value), DIGITS) for value in output.logits]}

    def reference(self, row: Row) -> Any:
        """Return None: a vector is right only in comparison."""
        return None


def embedding_of(contract: Contract) -> Embedding:
    """Return how a text's vector is made.

    Of a model that was not made for it: the mean of its tokens, or, where each token knows only
    those before it, the last one.
    """
    if contract.embedding is not None:
        return contract.embedding
    return Embedding(pooling="last" if _reads_forward(contract) else "mean")


def _reads_forward(contract: Contract) -> bool:
    return contract.task in ("text-generation", "reward")


def pooled(hidden_BTD: np.ndarray, mask_BT: np.ndarray, embedding: Embedding) -> np.ndarray:
    """Return one vector for each text, (B, D) in float32.

    Args:
        hidden_BTD: Vectors of the tokens.
        mask_BT: 1 for real tokens; the padding is on the right.
        embedding: How the vector is made of them.
    """
    rows = np.arange(len(mask_BT))
    if embedding.pooling == "cls":
        found_BD = hidden_BTD[:, 0]
    elif embedding.pooling == "last":
        found_BD = hidden_BTD[rows, mask_BT.sum(axis=1) - 1]
    else:
        weights_BT1 = mask_BT[:, :, None].astype(np.float32)
        found_BD = (hidden_BTD * weights_BT1).sum(axis=1) / weights_BT1.sum(axis=1)
    if embedding.normalized:
        lengths_B1 = np.linalg.norm(found_BD, axis=1, keepdims=True)
        found_BD = found_BD / np.maximum(lengths_B1, TINY)
    return np.ascontiguousarray(found_BD, dtype=np.float32)


def read_text(text: Any, contract: Contract) -> str:
    """Return a text as clean as those of the dataset.

    Raises:
        InputError: It is no text (``TASK-011``), or blank (``TASK-003``).
    """
    found: str = cleaned({"text": as_text({"text": text}, "text")}, contract)["text"]
    if not found.strip():
        raise InputError("TASK-003", field="text", found="-")
    return found


def encode_whole(
    text: str, tokenizer: PreTrainedTokenizerFast, contract: Contract, prompt: str | None = None
) -> Example:
    """Return a clean text as the model reads texts, cut at its end to ``max_length``.

    Args:
        text: Any.
        tokenizer: The model's.
        contract: The model's.
        prompt: Name of the words that come before it; the contract's default when not given.

    Raises:
        InputError: The model has no such prompt (``TASK-040``).
    """
    text = prompt_of(contract, prompt) + text
    if not TASKS.get(contract.task).generates or contract.task == "seq2seq":
        return encode_texts({"text": text}, tokenizer, contract)
    # As generation reads them: the tokenizer frames nothing, and cutting needs no care.
    ids = token_ids(tokenizer, stepped(text, contract), special=False)
    if contract.begins_with_bos and tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id, *ids]
    kept = np.array(ids[: contract.max_length], dtype=np.int64)
    return Example(kept, truncated=len(ids) > len(kept))


def prompt_of(contract: Contract, name: str | None) -> str:
    """Return the words before a text.

    Raises:
        InputError: The model has no such prompt (``TASK-040``).
    """
    embedding = embedding_of(contract)
    name = embedding.default_prompt if name is None else name
    if not name:
        return ""
    if name not in embedding.prompts:
        known = ", ".join(embedding.prompts) or "-"
        hint = closest(name, embedding.prompts)
        raise InputError("TASK-040", name=name, hint=hint, known=known)
    return embedding.prompts[name]
