"""Word vectors in a whole training: words that occur in no training text are understood."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmwright.core.events import Notice

FAST = {"lr": 1e-2, "batch_size": 8, "weight_decay": 0.0, "schedule": "constant"}
WORDS = {
    "weather": ["rain", "snow", "wind", "hail", "fog", "storm", "sleet", "frost"],
    "food": ["soup", "bread", "rice", "tea", "plum", "cheese", "honey", "salt"],
}


def rows_of(words: slice) -> list[dict[str, str]]:
    return [
        {"text": f"{first} and {second}", "label": label}
        for label, known in WORDS.items()
        for first in known[words]
        for second in known[words]
    ]


@pytest.mark.parametrize("kind", ["random", "glove"])
def test_unseen_words_are_understood_by_their_vectors(kind: str, bench, tiny) -> None:
    random = np.random.default_rng(0)
    centres = {label: random.normal(size=8) for label in WORDS}
    lines = [
        " ".join([word, *map(str, (centres[label] + random.normal(size=8) * 0.3).round(4))])
        for label, known in WORDS.items()
        for word in known
    ]
    (bench.root / "vectors.txt").write_text("\n".join(lines))
    train, unseen = rows_of(slice(0, 4)), rows_of(slice(4, 8))
    dataset = bench.dataset("text-classification", "classification", train=train, validation=unseen)
    texts = [row["text"] for row in train + unseen]
    vectors = {"kind": "glove", "file": "vectors.txt", "freeze": True}
    options = {"vectors": vectors} if kind == "glove" else {}
    artifact = bench.train(
        {**FAST, "model": tiny({"kind": "recurrent", **options}), "max_steps": 40},
        dataset,
        bench.tokenizer(texts, "cls_sep", "word"),
    )
    best = json.loads((artifact.path / "training.json").read_text())["best"]["accuracy"]
    assert best >= 0.95 if kind == "glove" else best <= 0.85
    said = " ".join(event.text for event in bench.events if isinstance(event, Notice))
    assert ("16 of 17 words found" in said) is (kind == "glove")


def test_vectors_are_learned_from_the_rows_that_train(bench, tiny) -> None:
    rows = rows_of(slice(0, 4))
    dataset = bench.dataset("text-classification", "classification", train=rows)
    bench.train(
        {**FAST, "model": tiny({"kind": "recurrent", "vectors": "train"}), "max_steps": 2},
        dataset,
        bench.tokenizer([row["text"] for row in rows], "cls_sep", "word"),
    )
    said = " ".join(event.text for event in bench.events if isinstance(event, Notice))
    assert "Learning vectors for 9 words" in said
    assert "9 of 9 words found" in said
