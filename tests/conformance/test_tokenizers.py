"""Every trained kind of tokenizer keeps the contract that plugins are held to."""

from __future__ import annotations

from typing import Any

import pytest

from llmwright.testing import tokenizer as suite
from llmwright.tokenization.config import TOKENIZERS

# Pieces of whole words lose the spaces that stood between them.
LOSSLESS = {"bpe", "char", "jieba"}


@pytest.mark.parametrize("name", [name for name in TOKENIZERS.names() if name != "load"])
def test_registered_tokenizer(name: str) -> None:
    suite.check_tokenizer(TOKENIZERS.get(name), lossless=name in LOSSLESS, kind=name)


def test_the_suite_finds_what_is_wrong() -> None:
    def shortened(*arguments: Any) -> Any:
        found = TOKENIZERS.get("char")(*arguments)
        found.pad_token = found.eos_token
        return found

    with pytest.raises(AssertionError, match="share an id"):
        suite.check_tokenizer(shortened)
    with pytest.raises(AssertionError, match="came back as"):
        suite.check_tokenizer(TOKENIZERS.get("word"), lossless=True)
