"""Choosing the next token from logits.

In this order: bias and penalties change logits; a schema and the fewest tokens leave out what may
not come yet; the likeliest token is taken or temperature divides them, then top-k, top-p and min-p
each leave tokens out.

The names and their meaning are those of `contract.Generation`. Everything is numpy, so all engines
that give logits choose alike.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, closest
from llmwright.inference.writing.grammar import Grammar, Walk
from llmwright.tasks.contract import Contract, Generation

# What a request says of a text and no contract can.
OWN = ("seed", "logit_bias", "stop", "grammar", "num_scores")


@dataclass(frozen=True)
class Settings:
    """How one text is to be written.

    Attributes:
        max_new_tokens: Most tokens to write, the stop token not counted.
        min_new_tokens: Tokens written before a stop token, a stop string or a sentence's end may
            end the text; a schema may end it sooner.
        end_sentence_after: Tokens after which the end of a sentence ends the text; None is off.
        temperature: 0 takes the likeliest token; 1 samples as the model was trained.
        top_k: Sample among this many likeliest tokens; 0 is off.
        top_p: Sample among the likeliest tokens that together have this probability; 1 is off.
        min_p: Sample among tokens with at least this share of the likeliest one's probability; 0
            is off.
        repetition_penalty: Makes tokens of prompt and text unlikely; 1 is off.
        presence_penalty: Taken off logits of tokens that the text has; 0 is off.
        frequency_penalty: Taken off once for each time; 0 is off.
        logit_bias: Token → what is added to its logit.
        stop: Strings that end the text; they are not part of it.
        grammar: What the text must be; anything when None.
        seed: Makes sampling repeatable; a new one each time when None.
        stop_token_ids: Tokens that end the text; they are not part of it.
        num_scores: Likeliest tokens to tell of each place, for engines that sample by themselves;
            None for no probabilities.
        adapter: The engine's adapter that writes it; None for the model alone.
    """

    max_new_tokens: int = 256
    min_new_tokens: int = 0
    end_sentence_after: int | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None
    seed: int | None = None
    stop_token_ids: frozenset[int] = frozenset()
    num_scores: int | None = None
    adapter: str | None = None

    def told(self) -> dict[str, Any]:
        """Return what decides a text, as JSON can hold it; what is rarely set only where it is."""
        found = {name: getattr(self, name) for name in (*Generation.model_fields, "seed")}
        rare = {
            "stop": list(self.stop),
            "logit_bias": {str(token): bias for token, bias in self.logit_bias.items()},
            "json_schema": self.grammar.schema if self.grammar else None,
            "adapter": self.adapter,
        }
        return {**found, **{name: value for name, value in rare.items() if value}}

    @classmethod
    def of(cls, contract: Contract, **overrides: Any) -> Settings:
        """Return the contract's defaults with a request's own values laid over them.

        Args:
            contract: Says defaults and stop tokens.
            **overrides: Fields of `Generation`, `seed`, `logit_bias`, `stop`, `grammar` and
                `num_scores`; None keeps the default.

        Raises:
            ConfigError: An unknown name (``CORE-040``) or a value out of range (``CORE-041``).
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        own = {name: given.pop(name) for name in OWN if name in given}
        unknown = sorted(set(given) - set(Generation.model_fields))
        if unknown:
            hint = closest(unknown[0], [*Generation.model_fields, *OWN])
            raise ConfigError("CORE-040", key=unknown[0], hint=hint)
        values = contract.generation.model_dump() | given
        chosen = parse(Generation, values, "generation")
        return cls(
            **chosen.model_dump(),
            **own,
            stop_token_ids=frozenset(contract.stop_token_ids),
        )


class Sampler:
    """Chooses the tokens of one text.

    Args:
        settings: How.
        row: Position of the text in its request: texts of one request differ under one seed, and
            do not depend on which other texts share their batch.
        prompt_T: Token ids that the text follows.

    Attributes:
        random: Source of its random numbers; None where it is written greedily.
        ended: Whether the text holds all that its schema asks for, and nothing can follow.
    """

    def __init__(
        self, settings: Settings, row: int = 0, prompt_T: np.ndarray | None = None
    ) -> None:
        self.settings = settings
        self.ended = False
        self._walk: Walk | None = settings.grammar.start() if settings.grammar else None
        self._written = 0
        self._counts: Counter[int] = Counter()
        self._seen = set() if prompt_T is None else set(prompt_T.tolist())
        self.random: np.random.Generator | None = None
        if settings.temperature > 0:
            seed = None if settings.seed is None else [abs(settings.seed), row]
            self.random = np.random.default_rng(seed)

    def pick(self, logits_V: np.ndarray) -> int:
        """Return the id of the next token; among equal greedy ones the smallest id.

        Raises:
            InputError: The schema is too complex at this place (``INFER-072``).
        """
        logits_V = self._allowed(self._changed(logits_V))
        if self.random is None:
            token = int(logits_V.argmax())
        else:
            chances_V = probabilities(logits_V, self.settings)
            token = int(self.random.choice(len(chances_V), p=chances_V))
        self._counts[token] += 1
        self._written += 1
        if self._walk is not None and token not in self.settings.stop_token_ids:
            self._walk.take(token)
            self.ended = self._walk.ended
        return token

    def _allowed(self, logits_V: np.ndarray) -> np.ndarray:
        """Return logits, those of tokens that may not come now minus infinity."""
        early = self._written < self.settings.min_new_tokens
        if self._walk is None and not early:
            return logits_V
        allowed_V = np.ones(len(logits_V), dtype=bool)
        if self._walk is not None:
            allowed_V = self._walk.allowed_V(len(logits_V))
        if early:
            longer_V = allowed_V.copy()
            longer_V[sorted(self.settings.stop_token_ids)] = False
            # A schema whose document is whole leaves nothing else.
            allowed_V = longer_V if longer_V.any() else allowed_V
        return np.where(allowed_V, logits_V, -np.inf)

    def _changed(self, logits_V: np.ndarray) -> np.ndarray:
        """Return logits with bias and penalties.

        Source: Keskar et al. 2019 (arXiv:1909.05858), section 4.1, for the repetition penalty.
        """
        chosen = self.settings
        off = (chosen.repetition_penalty, chosen.presence_penalty, chosen.frequency_penalty)
        if off == (1.0, 0.0, 0.0) and not chosen.logit_bias:
            return logits_V
        changed_V = logits_V.astype(np.float64)
        for token, bias in chosen.logit_bias.items():
            changed_V[token] += bias
        if chosen.repetition_penalty != 1:
            known = np.array(sorted(self._seen | set(self._counts)), dtype=np.int64)
            scores = changed_V[known]
            divided = scores / chosen.repetition_penalty
            changed_V[known] = np.where(scores > 0, divided, scores * chosen.repetition_penalty)
        for token, count in self._counts.items():
            changed_V[token] -= chosen.presence_penalty + count * chosen.frequency_penalty
        return changed_V


def probabilities(logits_V: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the distribution that is sampled from, in float64, summing to 1.

    Temperature divides the logits first; then top-k, top-p and min-p each remove unlikely tokens,
    and what is left is scaled to 1. The token that crosses `top_p` is kept, so at least one is.

    Source: Holtzman et al. 2020 (arXiv:1904.09751), section 3.1, for top-p; Nguyen et al. 2024
    (arXiv:2407.01082), section 3, for min-p.
    """
    wide_V = logits_V.astype(np.float64)
    # The likeliest stays 0 however small the temperature; all others may fall to minus infinity.
    with np.errstate(over="ignore"):
        scaled_V = (wide_V - wide_V.max()) / settings.temperature
    if 0 < settings.top_k < len(scaled_V):
        least = np.partition(scaled_V, -settings.top_k)[-settings.top_k]
        scaled_V = np.where(scaled_V < least, -np.inf, scaled_V)
    chances_V = np.exp(scaled_V)
    chances_V /= chances_V.sum()
    if settings.top_p < 1:
        order_V = np.argsort(-chances_V, kind="stable")
        before_V = np.cumsum(chances_V[order_V]) - chances_V[order_V]
        chances_V[order_V[before_V >= settings.top_p]] = 0.0
    if settings.min_p > 0:
        chances_V[chances_V < settings.min_p * chances_V.max()] = 0.0
    if settings.top_p < 1 or settings.min_p > 0:
        chances_V /= chances_V.sum()
    found: np.ndarray = chances_V
    return found


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return natural log-probabilities along the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    found: np.ndarray = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return found
