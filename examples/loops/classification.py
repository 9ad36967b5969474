"""Train a text classifier in plain PyTorch: the teaching twin of `llmwright.training.loop`.

It makes the same choices as LLMwright's own loop and, given the same model and rows, reaches the
same losses (a test compares them).

    python examples/loops/classification.py rows.tsv        # one "label<TAB>text" per line
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

# Shapes: B batch, T tokens, C classes.
PAD = 0


def batches(lengths: np.ndarray, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the row numbers of each batch, for ever.

    Rows are shuffled, then sorted by length within pools of 64 batches: rows of one batch are
    about equally long, so little padding is computed, and still every epoch is different.
    """
    epoch = 0
    while True:
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(len(lengths))
        planned = []
        for start in range(0, len(order), 64 * batch_size):
            pool = order[start : start + 64 * batch_size]
            pool = pool[np.argsort(-lengths[pool], kind="stable")]
            planned += [pool[s : s + batch_size] for s in range(0, len(pool), batch_size)]
        for index in random.permutation(len(planned)):
            yield planned[index]
        epoch += 1


def pad(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return ids_BT, padded on the right, and mask_BT, 1 for real tokens."""
    width = max(len(row) for row in rows)
    ids_BT = torch.full((len(rows), width), PAD)
    mask_BT = torch.zeros_like(ids_BT)
    for index, row in enumerate(rows):
        ids_BT[index, : len(row)] = torch.from_numpy(row)
        mask_BT[index, : len(row)] = 1
    return ids_BT, mask_BT


def lr_at(step: int, num_steps: int, peak: float) -> float:
    """Return the learning rate: a short linear warm-up, then half a cosine down to 5 %."""
    warmup = round(0.03 * num_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / (num_steps - warmup)
    return peak * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def make_optimizer(model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Return AdamW that pulls matrices to zero, but neither biases nor norms."""
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)


def train(
    model: nn.Module,
    rows: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    batch_size: int,
    num_steps: int,
    lr: float,
    seed: int,
) -> list[float]:
    """Return the loss of each step, in nats per row; the model is changed in place.

    Args:
        model: Takes ids (B, T) and a mask (B, T) and returns an object with ``logits`` (B, C).
        rows: Token ids of each text.
        labels: Class of each text.
        batch_size: Texts in a batch.
        num_steps: Optimizer steps.
        lr: Largest learning rate.
        seed: Of the order of texts.
    """
    optimizer = make_optimizer(model, weight_decay=0.01)
    plan = batches(np.array([len(row) for row in rows]), batch_size, seed)
    losses = []
    model.train()
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, num_steps, lr)
        indices = next(plan)
        ids_BT, mask_BT = pad([rows[index] for index in indices])
        logits_BC = model(input_ids=ids_BT, attention_mask=mask_BT).logits
        loss = functional.cross_entropy(logits_BC, torch.from_numpy(labels[indices]))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Train on the words of labelled texts and print the loss."""
    from transformers import BertConfig, BertForSequenceClassification

    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    names, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    classes = sorted(set(names))
    words = {word: i + 1 for i, word in enumerate(sorted({w for t in texts for w in t.split()}))}
    rows = [np.array([words[word] for word in text.split()][:64]) for text in texts]
    labels = np.array([classes.index(name) for name in names])
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words) + 1,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=len(classes),
    )
    model = BertForSequenceClassification(config)
    losses = train(model, rows, labels, batch_size=32, num_steps=300, lr=1e-3, seed=0)
    for step in range(0, len(losses), 20):
        print(f"step {step + 1:4d}  loss {losses[step]:.3f}")


if __name__ == "__main__":
    main()
