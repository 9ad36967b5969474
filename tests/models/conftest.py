from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from llmwright.models.config import ScratchModel
from llmwright.models.spec import ModelRequest, build_model
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import Framing

Make = Callable[..., PreTrainedModel]

LABELS = ("cold", "rain", "sun")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    texts = ["abcdefghijklmnopqrstuvwxyz 今天天气很好晴朗"]
    config = TokenizeConfig(kind="char")
    return TOKENIZERS.get("char")(config, texts, Framing(frame="cls_sep"))


@pytest.fixture
def make(tokenizer: PreTrainedTokenizerFast) -> Make:
    """Return a function that builds a tiny model of an architecture for an Auto class."""

    def build(architecture: Any, auto_class: str, seed: int = 1, **dimensions: Any):
        values = {"hidden_size": 32, "num_heads": 2, "dropout": 0.0} | dimensions
        spec = ScratchModel(architecture=architecture, **values)
        labels = LABELS if "Classification" in auto_class else ()
        request = ModelRequest(auto_class, tokenizer, labels, seed=seed)
        return build_model(spec, request).eval()

    return build


@pytest.fixture
def labels() -> tuple[str, ...]:
    return LABELS


@pytest.fixture
def random_ids() -> Callable[..., torch.Tensor]:
    """Return a function that draws ids of ordinary tokens, shape (rows, length)."""

    def draw(rows: int, length: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(8, 30, (rows, length), generator=generator)

    return draw
