"""What `plan` foretells beside what the run then takes: peak memory and time of six configurations.

    python benchmarks/planning.py [NAME ...]

Each run is made by the command line, in a process of its own: dataset and tokenizer first, then
``plan``, then the training. Texts are random words, so nothing is downloaded. Nothing else should
run on the machine: time is compared, too.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NUM_ROWS = 600
NUM_WORDS = 3000
STEPS = 60


def spec(architecture: str, width: int, layers: int) -> dict[str, Any]:
    """Return a model from scratch."""
    heads = width // 64
    model = {"kind": "scratch", "architecture": architecture, "hidden_size": width}
    return model | {"num_layers": layers, "num_heads": heads}


def rows_by(size: int, length: int) -> dict[str, Any]:
    """Return the settings of batches of so many rows of so many tokens."""
    return {"batch_size": size, "max_length": length}


# Name → task, model, settings of the training, whether LoRA goes on with a first step's model.
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any], bool]] = {
    "decoder, small": (
        "text",
        spec("decoder", 256, 4),
        {"batch_size": 16, "max_length": 256},
        False,
    ),
    "decoder, larger": (
        "text",
        spec("decoder", 512, 8),
        {"batch_size": 4, "max_length": 256},
        False,
    ),
    "decoder, accumulated": (
        "text",
        spec("decoder", 384, 6),
        {"batch_size": 4, "max_length": 512, "accumulate": 4},
        False,
    ),
    "decoder, LoRA": ("text", spec("decoder", 512, 8), {"batch_size": 8, "max_length": 256}, True),
    "classifier": ("label", spec("encoder", 256, 4), {"batch_size": 32}, False),
    "classifier, LoRA": ("label", spec("encoder", 384, 6), {"batch_size": 32}, True),
    "seq2seq": ("pair", spec("seq2seq", 256, 3), {"batch_size": 32}, False),
}
TASKS = {"text": "text-generation", "label": "text-classification", "pair": "seq2seq"}


def rows_of(kind: str) -> list[dict[str, str]]:
    """Return rows of random words, the same each time."""
    chance = random.Random(0)
    letters = "abcdefghijklmnop"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 7))) for _ in range(NUM_WORDS)]

    def sentence(least: int, most: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(least, most)))

    if kind == "text":
        return [{"text": sentence(50, 400)} for _ in range(NUM_ROWS)]
    if kind == "pair":
        return [{"input": sentence(5, 60), "target": sentence(5, 60)} for _ in range(NUM_ROWS)]
    return [{"text": sentence(5, 100), "label": "abc"[n % 3]} for n in range(NUM_ROWS)]


def call(folder: Path, *words: str) -> dict[str, Any]:
    """Run a command in a folder and return what it says in JSON."""
    command = [sys.executable, "-m", "llmwright.cli", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare(name: str, folder: Path) -> tuple[float, float, float, float]:
    """Return bytes foretold and taken, and seconds foretold and taken."""
    kind, model, settings, adapts = RUNS[name]
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows_of(kind))
    train: list[dict[str, Any]] = [{"name": "tuned", "model": model, "max_steps": STEPS}]
    first = ["prepare", "tokenize"]
    if adapts:
        base = {"name": "base", "model": model, "max_steps": 1, "batch_size": 2}
        train[0] |= {"model": {"kind": "step", "name": "base"}, "adapter": "lora"}
        train, first = [base, *train], [*first, "base"]
    train[-1] |= settings
    body = {
        "task": TASKS[kind],
        "prepare": {"source": "rows.jsonl"},
        "tokenize": {"kind": "bpe", "vocab_size": 6000},
        "train": train,
    }
    (folder / "llmwright.yaml").write_text(json.dumps(body), encoding="utf-8")
    call(folder, "run", *(word for step in first for word in ("--only", step)))
    plan = call(folder, "plan", "--only", "tuned")["plans"]["tuned"]
    [step] = call(folder, "run", "--only", "tuned")["steps"]
    truth = step["artifact"]["metadata"]["measured"]
    return (
        plan["memory"]["peak"],
        truth["peak_memory_bytes"],
        plan["pace"]["total"],
        truth["seconds"],
    )


def main() -> None:
    """Print a row for each configuration."""
    chosen = sys.argv[1:] or list(RUNS)
    print("| run | memory foretold | taken | ratio | time foretold | taken | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            predicted, taken, planned, seconds = compare(name, Path(folder))
        memory = f"{predicted / 1e6:,.0f} MB | {taken / 1e6:,.0f} MB | {predicted / taken:.2f}"
        took = f"{planned:.0f} s | {seconds:.0f} s | {planned / seconds:.2f}"
        print(f"| {name} | {memory} | {took} |", flush=True)


if __name__ == "__main__":
    main()
