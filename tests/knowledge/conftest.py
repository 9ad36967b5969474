"""Documents of a small shop in two languages, and a recorder of what is said."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from llmwright.core.events import Event, Notice, Progress
from llmwright.knowledge.config import KnowledgeConfig
from llmwright.knowledge.dense import Encoder
from llmwright.knowledge.indexing import open_index
from llmwright.knowledge.search import Knowledge
from llmwright.knowledge.words import words

DOCUMENTS = {
    "returns.md": (
        "# Returns\nGoods can be sent back within fourteen days. We pay the postage.\n\n"
        "# Warranty\nElectric devices have a warranty of three years. Batteries have one of six "
        "months.\n"
    ),
    "opening/hours.txt": "The shop in Lyon opens at nine in the morning. It is closed on Sundays.",
    "delivery.txt": "Parcels to islands take ten days. Express parcels arrive on the next day.",
    "退款.txt": "退款会在七个工作日内到账。使用信用卡付款的订单，退款会退回原卡。",
    "会员.txt": "金卡会员可以免费寄送。每年消费满五千元即可成为金卡会员。",
    "faq.csv": "question,answer\nHow do I pay?,By card.\nCan I wrap gifts?,Yes for free.\n",
}


class Said:
    """Keeps the events of an indexing."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notice(self, sentence: str, level: str = "info") -> None:
        self.events.append(Notice(sentence, level))  # type: ignore[arg-type]

    def progress(
        self, stage: str, done: float, total: float | None, unit: str = "", **values: float
    ) -> None:
        self.events.append(Progress(stage, done, total, unit, values))

    def notices(self, level: str | None = None) -> list[str]:
        return [
            e.text
            for e in self.events
            if isinstance(e, Notice) and (level is None or e.level == level)
        ]


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder of documents."""
    folder = tmp_path / "docs"
    for name, text in DOCUMENTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


Ask = Callable[..., Knowledge]


@pytest.fixture
def ask(tmp_path: Path, said: Said) -> Ask:
    """Return what opens the folder ``docs`` with given settings."""

    def opened(encoder: Encoder | None = None, **settings: object) -> Knowledge:
        config = KnowledgeConfig.model_validate({"folder": "docs", **settings})
        index = open_index(config, tmp_path, tmp_path / "home", encoder, said)
        return Knowledge(index, config, encoder)

    return opened


def vectors(texts: Sequence[str], known: Callable[[str], bool] = lambda word: True) -> np.ndarray:
    """Return directions that texts share as far as they share words."""
    found = np.zeros((len(texts), 256), dtype=np.float32)
    for row, text in enumerate(texts):
        found[row, 0] = 0.5
        for word in words(text):
            if known(word):
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
                found[row] += np.random.default_rng(seed).standard_normal(256) / 16
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def by_english_words() -> Encoder:
    """An encoder that knows English and nothing of Chinese."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        return vectors(texts, str.isascii)

    return Encoder("english", embed, embed)
