"""Teach a language model what people prefer, in plain PyTorch: the twin of the objective `dpo`.

Two answers to each prompt are given, one of them preferred. The model learns to raise the
probability of the preferred one against the other, compared with a frozen copy of itself: so it
moves only as far as the preferences ask for.

    python examples/loops/dpo.py

A small model first learns friendly and rude answers alike, then to prefer the friendly ones.

Source: Rafailov et al. 2023 (arXiv:2305.18290), equation 7.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import torch
from language_model import lr_at, make_model, make_optimizer, make_step, train, write
from torch import Tensor, nn
from torch.nn import functional

# Shapes: B pairs, T tokens, V vocabulary.

PLACES = ("the market", "the harbour", "the old mill", "the bridge", "the station", "the school")
WAYS = ("left", "right", "straight on", "behind the church", "down the hill", "past the inn")
FRIENDLY, RUDE = "gladly, go {}!", "no idea, {} maybe"

Pair = tuple[str, str, str]
Rows = Sequence[tuple[np.ndarray, np.ndarray]]


def make_pairs() -> list[Pair]:
    """Return prompts, each with the answer that is preferred and one that is not."""
    return [
        (f"where is {place}? ", FRIENDLY.format(way) + "\n", RUDE.format(way) + "\n")
        for place, way in product(PLACES, WAYS)
    ]


def pad(rows: Rows) -> tuple[Tensor, Tensor]:
    """Return ids_BT, padded on the right, and answer_BT, 1 for the tokens of the answer.

    Padding needs no mask of its own: a decoder's tokens see only those before them.
    """
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
    answer_BT = torch.zeros(len(rows), width)
    for index, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids_BT[index, :end] = torch.from_numpy(np.concatenate([prompt, answer]))
        answer_BT[index, len(prompt) : end] = 1
    return ids_BT, answer_BT


def answer_log_probs(model: nn.Module, ids_BT: Tensor, answer_BT: Tensor) -> Tensor:
    """Return the log-probability of each whole answer given its prompt, in nats, shape (B,)."""
    logits_BTV = model(ids_BT[:, :-1]).logits.float()
    chosen_BT1 = ids_BT[:, 1:, None]
    log_probs_BT = logits_BTV.log_softmax(dim=-1).gather(2, chosen_BT1).squeeze(2)
    return (log_probs_BT * answer_BT[:, 1:]).sum(dim=1)


def dpo_losses(
    chosen_B: Tensor,
    rejected_B: Tensor,
    reference_chosen_B: Tensor,
    reference_rejected_B: Tensor,
    beta: float,
) -> Tensor:
    """Return the loss of each pair, shape (B,); ln 2 where the model is still its reference.

    Args:
        chosen_B: Log-probability of the preferred answers.
        rejected_B: That of the other ones.
        reference_chosen_B: What the frozen copy says of the former.
        reference_rejected_B: What it says of the latter.
        beta: How far a preference may carry the model away from its copy: less is farther.
    """
    reward_chosen_B = beta * (chosen_B - reference_chosen_B)
    reward_rejected_B = beta * (rejected_B - reference_rejected_B)
    return -functional.logsigmoid(reward_chosen_B - reward_rejected_B)


def batches(num_pairs: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the numbers of the pairs of each batch, for ever."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(num_pairs)
        yield from (order[start : start + batch_size] for start in range(0, num_pairs, batch_size))


def prefer(
    model: nn.Module, chosen: Rows, rejected: Rows, *, num_steps: int, lr: float, beta: float
) -> list[float]:
    """Return the loss of each step, in nats per pair; the model is changed in place."""
    reference = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = make_optimizer(model, weight_decay=0.01)
    plan = batches(len(chosen), 12, seed=0)
    losses = []
    model.train()
    for step in range(num_steps):
        indices_B = next(plan)
        # One batch of both answers: the model runs once for chosen and rejected together.
        both = [chosen[index] for index in indices_B] + [rejected[index] for index in indices_B]
        ids_BT, answer_BT = pad(both)
        mine = answer_log_probs(model, ids_BT, answer_BT).chunk(2)
        with torch.no_grad():
            others = answer_log_probs(reference, ids_BT, answer_BT).chunk(2)
        loss = dpo_losses(*mine, *others, beta).sum() / len(indices_B)
        make_step(model, optimizer, loss, lr_at(step, num_steps, lr))
        losses.append(loss.item())
    return losses


def main(num_steps: int = 40) -> list[float]:
    """Train a base on both kinds of answers, then prefer one; print losses and answers."""
    pairs = make_pairs()
    text = "".join(prompt + answer for prompt, *answers in pairs for answer in answers)
    characters = sorted(set(text))
    encoded = [
        [np.array([characters.index(character) for character in part]) for part in pair]
        for pair in pairs
    ]
    stream_N = np.concatenate([part for p, c, r in encoded for part in (p, c, p, r)])
    torch.manual_seed(0)
    model = make_model(len(characters), context=64)
    train(model, stream_N, length=63, batch_size=16, num_steps=4 * num_steps, lr=4e-3, seed=0)

    def ask() -> None:
        torch.manual_seed(0)
        ids = [write(model, torch.from_numpy(p), 30, context=64) for p, _, _ in encoded[::3]]
        answers = ["".join(characters[i] for i in ids_T.tolist()).split("\n")[0] for ids_T in ids]
        print(f"{sum('gladly' in one for one in answers)} of {len(answers)} friendly: {answers[1]}")

    ask()
    chosen, rejected = [(p, c) for p, c, _ in encoded], [(p, r) for p, _, r in encoded]
    losses = prefer(model, chosen, rejected, num_steps=num_steps, lr=1e-4, beta=0.1)
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    ask()
    return losses


if __name__ == "__main__":
    main()
