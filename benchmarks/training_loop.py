"""How much LLMwright's loop adds to a bare PyTorch loop: same model, same batches, same steps.

    python benchmarks/training_loop.py [--rounds 3] [--steps 60] [--threads N] [--quick]

The bare loop is the teaching twin `examples/loops/language_model.py`, in float32. Both are timed in
turn on a 0.8M decoder over characters of a made-up text; the best round of each counts.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from llmwright.core import files
from llmwright.core.artifacts import Artifact, Store
from llmwright.core.hardware import num_cores
from llmwright.core.runs import Run
from llmwright.data.records import DatasetInfo
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import Framing
from llmwright.training import setup
from llmwright.training import train as training
from llmwright.training.config import TrainConfig
from llmwright.training.following.callbacks import Follower
from llmwright.training.loop import fit
from llmwright.training.state import State

ROOT = Path(__file__).parents[1]
LR = 1e-3


def made_up_text(num_words: int) -> str:
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefghijklmnop"), 5)) for _ in range(500)]
    return " ".join(random.choice(words, num_words))


def inputs(root: Path, text: str) -> dict[str, Artifact]:
    store = Store(root)
    info = DatasetInfo(
        task="text-generation", row_type="text", shape="text", fields={}, counts={"train": 1}
    )
    with store.draft("dataset") as dataset:
        pl.DataFrame([{"text": text}]).write_parquet(dataset.path / "train.parquet")
        files.write_json(dataset.path / "dataset.json", info.model_dump())
    made = TOKENIZERS.get("char")(TokenizeConfig(kind="char"), [text], Framing())
    with store.draft("tokenizer") as tokenizer:
        made.save_pretrained(tokenizer.path)
    assert dataset.artifact is not None
    assert tokenizer.artifact is not None
    return {"dataset": dataset.artifact, "tokenizer": tokenizer.artifact}


def compare(length: int, batch_size: int, steps: int, rounds: int, threads: int) -> None:
    config = TrainConfig.model_validate(
        {
            "model": {"kind": "scratch", "architecture": "decoder", "context": length},
            "lr": LR,
            "max_steps": steps,
            "batch_size": batch_size,
            "precision": "float32",
            "runtime": {"kind": "single", "device": "cpu", "num_threads": threads},
        }
    )
    spec = importlib.util.spec_from_file_location("twin", ROOT / "examples/loops/language_model.py")
    twin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twin)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        given = inputs(root, made_up_text(40_000))
        run = Run("bench", root, root, Store(root))
        problem = setup.define(config, given, run)
        runtime = config.runtime.build()
        material = setup.prepare(config, problem, given, run)
        trainee = training.make_trainee(config, problem, material, runtime, run)
        stream = np.concatenate([e.input_ids_T for e in material.train.examples])
        bare = copy.deepcopy(material.model)
        ours_ms, bare_ms, ours_cpu, bare_cpu = [], [], [], []
        for _ in range(rounds):
            started, cpu, state = time.perf_counter(), time.process_time(), State()
            follower = Follower(trainee, state, run, material.train.rows, 10)
            for result in fit(trainee, state):
                follower.after(result)
            ours_ms.append((time.perf_counter() - started) / steps * 1e3)
            ours_cpu.append(time.process_time() - cpu)
            started, cpu = time.perf_counter(), time.process_time()
            twin.train(
                bare, stream, length=length, batch_size=batch_size, num_steps=steps, lr=LR, seed=42
            )
            bare_ms.append((time.perf_counter() - started) / steps * 1e3)
            bare_cpu.append(time.process_time() - cpu)
    ours, plain = min(ours_ms), min(bare_ms)
    print(
        f"batch {batch_size} x {length}: LLMwright {ours:.1f} ms/step, bare PyTorch {plain:.1f} "
        f"ms/step, ratio {ours / plain:.3f}, by processor time "
        f"{min(ours_cpu) / min(bare_cpu):.3f} (best of {rounds} rounds of {steps} steps, "
        f"{threads} threads)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--quick", action="store_true", help="two rounds of 8 steps")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.steps = 2, 8
    for length, batch_size in ((64, 32), (128, 16)):
        compare(length, batch_size, given.steps, given.rounds, given.threads)


if __name__ == "__main__":
    main()
