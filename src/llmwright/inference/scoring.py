"""How likely a model finds given texts, token by token.

Shapes: T tokens, U scored tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmwright.inference.writing.sampling import log_softmax
from llmwright.tasks.task import IGNORE, Example

if TYPE_CHECKING:
    from llmwright.inference.engines.engine import Engine
    from llmwright.tasks.contract import Contract
    from llmwright.tasks.task import Task

# Logits of one scored batch, 4 bytes each.
MAX_LOGITS = 1 << 26


@dataclass(frozen=True)
class TokenScores:
    """How likely a row's target is to the model.

    Attributes:
        token_ids_U: The tokens that were scored, in order.
        log_probs_U: Natural logarithm of each one's probability given all before it, or all that
            is not masked.
        right_U: Whether it is the likeliest token of its place.
        truncated: Whether the row had to be cut.
    """

    token_ids_U: np.ndarray
    log_probs_U: np.ndarray
    right_U: np.ndarray
    truncated: bool = False


def score_examples(
    examples: Sequence[Example],
    engine: Engine,
    task: Task,
    contract: Contract,
    num_tokens: int,
    batch_size: int,
    adapter: str | None = None,
) -> list[TokenScores]:
    """Return the scores of each example's labels, those of similar length computed together.

    Args:
        examples: With labels.
        engine: Runs the model.
        task: Says how they become a batch.
        contract: The model's.
        num_tokens: Size of the vocabulary.
        batch_size: Sequences that go through the model together, fewer where they are long.
        adapter: The engine's adapter that answers.
    """
    # Seq2seq has logits for each target token, the others for each input token.
    lengths = [max(len(e.input_ids_T), len(_labels_of(e))) for e in examples]
    # Longest first, so that the first batch tells how many rows the logits leave room for.
    order = sorted(range(len(examples)), key=lambda i: -lengths[i])
    found: dict[int, TokenScores] = {}
    while len(found) < len(order):
        length = lengths[order[len(found)]]
        fitting = max(1, MAX_LOGITS // max(1, length * num_tokens))
        rows = order[len(found) : len(found) + min(batch_size, fitting)]
        batch = task.collate([examples[row] for row in rows], contract)
        adapters = None if adapter is None else [adapter] * len(rows)
        logits, labels = engine.logits(batch, adapters), batch["labels"]
        if task.generates and "decoder_input_ids" not in batch:
            # A decoder's output at a token is about the next one.
            logits, labels = logits[:, :-1], labels[:, 1:]
        for place, row in enumerate(rows):
            found[row] = target_log_probs(logits[place], labels[place])
    return [found[row] for row in range(len(examples))]


def _labels_of(example: Example) -> np.ndarray:
    assert example.labels is not None
    return example.labels


def target_log_probs(logits_TV: np.ndarray, labels_T: np.ndarray) -> TokenScores:
    """Return the target's tokens and their log-probabilities, where the labels are not IGNORE."""
    places_U = np.flatnonzero(labels_T != IGNORE)
    ids_U = labels_T[places_U]
    log_probs_UV = log_softmax(logits_TV[places_U])
    right_U = log_probs_UV.argmax(axis=-1) == ids_U
    return TokenScores(ids_U, log_probs_UV[np.arange(len(ids_U)), ids_U], right_U)
