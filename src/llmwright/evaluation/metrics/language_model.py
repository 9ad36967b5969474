"""Perplexity and its relatives, from the log-probabilities a model gave to the right tokens.

Perplexity depends on the tokenizer; only bits per byte compares models with different ones.

Shapes: N rows, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from llmwright.evaluation.metrics.metric import RowMetric, ratio
from llmwright.evaluation.outcomes import FloatArray, Outcomes


class TokenLoss(RowMetric):
    """A function of summed negative log-probability, tokens and bytes of the corpus."""

    needs: ClassVar[frozenset[str]] = frozenset({"log_probs"})
    higher_is_better = False
    scale = None

    def __init__(self, name: str, formula: Callable[[FloatArray, FloatArray], FloatArray]) -> None:
        self.name = name
        self.formula = formula

    def row_statistics(self, outcomes: Outcomes) -> FloatArray:
        """Return negative log-probability (nats) and number of tokens of each row."""
        assert outcomes.log_probs_N is not None
        assert outcomes.num_tokens_N is not None
        return np.stack([-outcomes.log_probs_N, outcomes.num_tokens_N], axis=1)

    def from_sums(self, sums_RS: FloatArray) -> FloatArray:
        """Return the figure from summed log-probabilities and units."""
        return self.formula(sums_RS[:, 0], sums_RS[:, 1])

    def signature(self, outcomes: Outcomes) -> str:
        """Return what is averaged over what."""
        return f"llmwright {self.name}|natural logarithm, summed over all scored tokens"


class BitsPerByte(TokenLoss):
    """Bits per UTF-8 byte of the scored text: comparable across tokenizers."""

    also: ClassVar[frozenset[str]] = frozenset({"bytes"})

    def row_statistics(self, outcomes: Outcomes) -> FloatArray:
        """Return negative log-probability (nats) and number of bytes of each row."""
        assert outcomes.log_probs_N is not None
        assert outcomes.num_bytes_N is not None
        return np.stack([-outcomes.log_probs_N, outcomes.num_bytes_N], axis=1)


class MaskedAccuracy(RowMetric):
    """Share of scored tokens whose place the model gives to the right token."""

    name = "masked_accuracy"
    needs: ClassVar[frozenset[str]] = frozenset({"right"})

    def row_statistics(self, outcomes: Outcomes) -> FloatArray:
        """Return how many tokens of each row are right, and of how many."""
        assert outcomes.num_right_N is not None
        assert outcomes.num_tokens_N is not None
        return np.stack([outcomes.num_right_N, outcomes.num_tokens_N], axis=1)

    def from_sums(self, sums_RS: FloatArray) -> FloatArray:
        """Return the share."""
        return ratio(sums_RS[:, 0], sums_RS[:, 1], undefined=np.nan)

    def signature(self, outcomes: Outcomes) -> str:
        """Return what is counted."""
        return f"llmwright {self.name}|likeliest token at each masked place"


def mean_nats(nats_R: FloatArray, units_R: FloatArray) -> FloatArray:
    """Return nats per unit."""
    return ratio(nats_R, units_R, undefined=np.nan)


def exp_of_mean(nats_R: FloatArray, units_R: FloatArray) -> FloatArray:
    """Return perplexity, exp of nats per token; infinite beyond the range of a float."""
    with np.errstate(over="ignore"):
        return np.exp(mean_nats(nats_R, units_R))


def mean_bits(nats_R: FloatArray, units_R: FloatArray) -> FloatArray:
    """Return bits per unit."""
    return mean_nats(nats_R, units_R) / math.log(2)


loss = TokenLoss("loss", mean_nats)
perplexity = TokenLoss("perplexity", exp_of_mean)
bits_per_byte = BitsPerByte("bits_per_byte", mean_bits)
masked_accuracy = MaskedAccuracy()
