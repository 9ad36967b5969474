"""Train a language model in plain PyTorch: the teaching twin of `llmwright.training.loop`.

It makes the same choices as LLMwright's own loop and, given the same model and text, reaches the
same losses (a test compares them). Read this one to see what happens; the other adds checkpoints,
validation, mixed precision and devices, but no other mathematics.

    python examples/loops/language_model.py [some_text.txt]     # tiny Shakespeare when not given
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

# Shapes: B batch, T tokens, N tokens of the whole text, V vocabulary.

ROOT = Path(__file__).parents[2]
SHAKESPEARE = ROOT / "src" / "llmwright" / "recipes" / "shakespeare" / "data" / "input.txt"


def blocks(stream_N: np.ndarray, length: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield batches of blocks for ever, each of shape (B, length + 1).

    The text is a ring. Every epoch cuts it into blocks at other places, so that no token is always
    the first of its block. A block has one token more than is read: the last is only predicted.
    """
    num_blocks = max(1, len(stream_N) // length)
    epoch = 0
    while True:
        shift = int(np.random.default_rng([seed, epoch, 1]).integers(len(stream_N)))
        order = np.random.default_rng([seed, epoch]).permutation(num_blocks)
        for start in range(0, num_blocks, batch_size):
            starts_B1 = shift + order[start : start + batch_size, None] * length
            places_BT = starts_B1 + np.arange(length + 1)
            yield torch.from_numpy(stream_N.take(places_BT, mode="wrap"))
        epoch += 1


def lr_at(step: int, num_steps: int, peak: float) -> float:
    """Return the learning rate: a short linear warm-up, then half a cosine down to 5 %."""
    warmup = round(0.03 * num_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / (num_steps - warmup)
    return peak * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def make_optimizer(model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Return AdamW for all that learns; it pulls matrices to zero, but neither biases nor norms."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)


def make_step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, lr: float) -> None:
    """Change the weights a little, so that the loss becomes smaller."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def train(
    model: nn.Module,
    stream_N: np.ndarray,
    *,
    length: int,
    batch_size: int,
    num_steps: int,
    lr: float,
    seed: int,
) -> list[float]:
    """Return the loss of each step, in nats per token; the model is changed in place.

    Args:
        model: Takes ids (B, T) and returns an object with ``logits`` (B, T, V).
        stream_N: The text as token ids.
        length: Tokens the model reads at once.
        batch_size: Blocks in a batch.
        num_steps: Optimizer steps.
        lr: Largest learning rate.
        seed: Of the order of blocks.
    """
    optimizer = make_optimizer(model, weight_decay=0.01)
    batches = blocks(stream_N, length, batch_size, seed)
    losses = []
    model.train()
    for step in range(num_steps):
        ids_BT = next(batches)
        # Each position predicts the token behind it.
        logits_BTV = model(ids_BT[:, :-1]).logits
        targets_N = ids_BT[:, 1:].flatten()
        summed = functional.cross_entropy(logits_BTV.flatten(0, 1), targets_N, reduction="sum")
        # Divided by all targets of the step, so that each token counts the same in every batch.
        loss = summed / len(targets_N)
        make_step(model, optimizer, loss, lr_at(step, num_steps, lr))
        losses.append(loss.item())
    return losses


@torch.no_grad()
def write(model: nn.Module, ids_T: Tensor, num_tokens: int, context: int) -> Tensor:
    """Return the ids with so many more behind them, each drawn from what the model expects."""
    model.eval()
    for _ in range(num_tokens):
        logits_V = model(ids_T[None, -context:]).logits[0, -1]
        ids_T = torch.cat([ids_T, torch.multinomial((logits_V / 0.8).softmax(dim=0), 1)])
    return ids_T


def make_model(vocab_size: int, context: int) -> nn.Module:
    """Return a small decoder of Llama's type with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "max_position_embeddings": context}
    sizes["initializer_range"] = 128**-0.5  # keeps the size of a vector from layer to layer
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **sizes))


def main(path: Path = SHAKESPEARE, num_steps: int = 200) -> list[float]:
    """Train on the characters of a text file; print the loss and what the model writes."""
    text = path.read_text(encoding="utf-8")
    characters = sorted(set(text))
    stream_N = np.array([characters.index(character) for character in text])
    torch.manual_seed(0)
    model = make_model(len(characters), context=64)
    losses = train(model, stream_N, length=64, batch_size=32, num_steps=num_steps, lr=4e-3, seed=0)
    for step in [*range(0, num_steps, 20), num_steps - 1]:
        print(f"step {step + 1:4d}  loss {losses[step]:.3f}")
    ids_T = write(model, torch.tensor(stream_N[:1]), 200, context=64)
    print("".join(characters[index] for index in ids_T.tolist()))
    return losses


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
