"""Text steps that belong to a tokenizer and run right before it, in training as at inference.

A pre-tokenizer written in Python cannot be saved with a tokenizer. So it is a step from text to
text, recorded in tokenizer_config.json and in the model's contract, and run by whoever tokenizes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmwright.tokenization.config import STEPS
from llmwright.tokenization.special import STEPS_KEY

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def steps_of(tokenizer: PreTrainedTokenizerFast) -> list[dict[str, Any]]:
    """Return the text steps a tokenizer needs, as plain mappings (empty for most)."""
    return [dict(step) for step in tokenizer.init_kwargs.get(STEPS_KEY, [])]


@lru_cache(maxsize=64)
def _built(step: str) -> Callable[[str], str]:
    values = json.loads(step)
    built: Callable[[str], str] = STEPS.get(values["kind"]).model_validate(values).build()
    return built


def apply_steps(steps: Sequence[dict[str, Any]], text: str) -> str:
    """Return the text after all steps, in order.

    Args:
        steps: As `steps_of` returns them, or as a contract holds them.
        text: One raw text.

    Raises:
        ConfigError: A step's kind is not registered (``CORE-011``).
    """
    for step in steps:
        text = _built(json.dumps(step, sort_keys=True))(text)
    return text
