"""What checkpoints cost while training: `python benchmarks/checkpoint.py [--rounds 3] [--quick]`.

A decoder of about 120M parameters trains a few steps on random rows, in turn with one checkpoint
at the end and with one in the middle, too. Claims: a checkpoint keeps the loop waiting at most
0.5 s, and makes the run at most 2 s longer.

The wait is the time between the report of the step with the checkpoint and the next step's,
less the usual time of a step. What runs get longer is the difference of whole runs, in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, side, spread

# 12 layers of hidden size 768 and 24k tied embeddings: 118M parameters.
SHAPE = {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "context": 64}
SMALL_SHAPE = {"hidden_size": 256, "num_layers": 4, "num_heads": 4, "context": 64}
NUM_WORDS, NUM_STEPS, WARMUP_STEPS = 24_000, 16, 3
CHECKPOINT_STEP = 8


def made_up_rows(path: Path, num_words: int) -> None:
    """Write texts in which each of so many words occurs."""
    random = np.random.default_rng(0)
    words = [f"w{index}" for index in random.permutation(num_words)]
    texts = [" ".join(words[start : start + 60]) for start in range(0, num_words, 60)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def run(folder: Path, rows: Path, shape: dict[str, int], every_steps: int) -> tuple[float, float]:
    """Return the seconds of a run after its warm-up, and of the longest wait between steps."""
    train: dict[str, Any] = {
        "model": {"kind": "scratch", "architecture": "decoder", **shape},
        "max_steps": NUM_STEPS,
        "batch_size": 8,
        "max_length": shape["context"],
        "checkpoint_every_steps": every_steps,
        "log_every_steps": 1,
        "probes": {"count": 4},
    }
    prepare = {"source": str(rows), "document": "file", "split": {"validation": 0, "test": 0}}
    tokenize = {"kind": "word", "vocab_size": NUM_WORDS}
    asked = {"folder": str(folder), "prepare": prepare, "tokenize": tokenize, "train": train}
    result = side(sys.executable, "ours.py", asked, 0).result
    seconds = {int(step): wall for step, wall in result["steps"].items()}
    usual = [seconds[s + 1] - seconds[s] for s in range(WARMUP_STEPS, CHECKPOINT_STEP - 1)]
    # A step is reported before its checkpoint: the wait is in front of the next step.
    wait = seconds[CHECKPOINT_STEP + 1] - seconds[CHECKPOINT_STEP] - statistics.median(usual)
    return seconds[NUM_STEPS] - seconds[WARMUP_STEPS], wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of a small model")
    given = parser.parse_args()
    rounds, shape = (1, SMALL_SHAPE) if given.quick else (given.rounds, SHAPE)
    print(machine())
    longer, waits = [], []
    with tempfile.TemporaryDirectory() as temporary:
        rows = Path(temporary) / "rows.jsonl"
        made_up_rows(rows, NUM_WORDS)
        for number in range(rounds):
            without, _ = run(Path(temporary) / f"without-{number}", rows, shape, NUM_STEPS)
            with_one, wait = run(Path(temporary) / f"with-{number}", rows, shape, CHECKPOINT_STEP)
            waits.append(wait)
            longer.append(with_one - without)
    print(f"one checkpoint keeps the loop waiting {spread(waits)} s (claim 0.5)")
    print(f"and makes the run {spread(longer)} s longer (claim 2)")


if __name__ == "__main__":
    main()
