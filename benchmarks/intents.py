"""BANKING77 from scratch with both architectures: `python benchmarks/intents.py [SEED ...]`.

Claim: the better of encoder and recurrent has at least 88 % on the test set after at most 180 s of
training. TF-IDF with logistic regression, run beside them on the same files, is the floor.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import machine, spread
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import llmwright
from llmwright.recipes import shipped

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "recurrent (the recipe)": {},
    "encoder": {
        "train.model": {"kind": "scratch", "architecture": "encoder", "size": "tiny"},
        "train.epochs": 15,
        "train.lr": 0.002,
    },
}


def read(path: Path) -> tuple[list[str], list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def floor(data: Path) -> tuple[float, float]:
    """Return accuracy and seconds of TF-IDF with logistic regression."""
    started = time.perf_counter()
    (texts, labels), (test, expected) = read(data / "train.csv"), read(data / "test.csv")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(max_iter=1000, C=10).fit(words.fit_transform(texts), labels)
    return float(model.score(words.transform(test), expected)), time.perf_counter() - started


def ours(changes: dict[str, Any], seed: int) -> tuple[float, float]:
    """Return accuracy and seconds of `train` (loading and recording probes included)."""
    with tempfile.TemporaryDirectory() as folder:
        shipped.copy(shipped.find("intents"), Path(folder))
        changes = {**changes, "train.seed": seed, "export": False}
        llmwright.run(folder, overrides=changes, only=["prepare", "tokenize"])
        started = time.perf_counter()
        llmwright.run(folder, overrides=changes, only=["train"])
        seconds = time.perf_counter() - started
        report = llmwright.run(folder, overrides=changes, only=["evaluate"])["evaluate"]
        return float(report.metadata["metrics"]["accuracy"]), seconds


def main() -> None:
    seeds = [int(word) for word in sys.argv[1:]] or [42, 43, 44]
    print(machine())
    accuracy, seconds = floor(shipped.find("intents").folder / "data")
    print(f"{'TF-IDF + logistic regression':30} accuracy {accuracy:.4f}   seconds {seconds:.1f}")
    for name, changes in ARCHITECTURES.items():
        runs = [ours({**changes, "evaluate.gate": {"accuracy": ">= 0"}}, seed) for seed in seeds]
        accuracies, times = zip(*runs, strict=True)
        print(f"{name:30} accuracy {spread(accuracies)}   seconds {spread(times)}")


if __name__ == "__main__":
    main()
