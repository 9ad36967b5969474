"""Fine-tune a language model with LoRA in plain PyTorch: the twin of the adapter `lora`.

A layer's weight W stays as it is; what it has to learn is a product of two thin matrices beside it:
W + B A * alpha / rank. B begins as zero, so that the model begins as the base, bit by bit. At the
end the product is added to W: the finished model has the base's layers again and costs nothing
more.

    python examples/loops/lora.py

A small model reads Shakespeare, then its adapter learns to shout. The loop is that of
`language_model.py`: it sees only fewer weights that learn.

Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from language_model import SHAKESPEARE, make_model, train, write
from torch import Tensor, nn

# Shapes: B batch, T tokens, I inputs and O outputs of a layer, R rank.

# Which layers get an adapter: all matrices of attention and of the feed-forward part.
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoRALinear(nn.Module):
    """A linear layer that stays, and a product of two thin matrices that learns.

    Args:
        base: The layer.
        rank: Columns of the one and rows of the other matrix.
        alpha: The product counts alpha / rank; so another rank needs no other learning rate.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.A_RI = nn.Parameter(torch.empty(rank, base.in_features))
        self.B_OR = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.A_RI, a=math.sqrt(5))  # as torch's own layers begin

    def forward(self, values_BTI: Tensor) -> Tensor:
        """Return what the base says, and what was learned beside it, shape (B, T, O)."""
        return self.base(values_BTI) + (values_BTI @ self.A_RI.T) @ self.B_OR.T * self.scale

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return one ordinary layer that says the same."""
        self.base.weight += self.B_OR @ self.A_RI * self.scale
        return self.base


def add_lora(model: nn.Module, rank: int, alpha: float) -> nn.Module:
    """Hold all weights of a model fixed and put an adapter beside each target layer, in place."""
    model.requires_grad_(False)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if name in TARGETS:
                setattr(parent, name, LoRALinear(layer, rank, alpha))
    return model


def merge(model: nn.Module) -> nn.Module:
    """Put one ordinary layer in the place of each layer with an adapter, in place."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, LoRALinear):
                setattr(parent, name, layer.merged())
    return model


def main(num_steps: int = 120) -> list[float]:
    """Train a base, adapt it to capitals, merge; print losses and what each of them writes."""
    text = SHAKESPEARE.read_text(encoding="utf-8")
    characters = sorted(set(text))
    quiet_N, loud_N = (
        np.array([characters.index(character) for character in version])
        for version in (text, text.upper())
    )
    settings = {"length": 64, "batch_size": 32, "num_steps": num_steps}
    torch.manual_seed(0)
    model = make_model(len(characters), context=64)
    base_losses = train(model, quiet_N, lr=4e-3, seed=0, **settings)
    print(f"base:    loss {base_losses[0]:.3f} -> {base_losses[-1]:.3f} on Shakespeare")

    def sample() -> str:
        torch.manual_seed(0)
        ids_T = write(model, torch.tensor(loud_N[:6]), 80, context=64)
        return "".join(characters[index] for index in ids_T.tolist())

    print(sample(), end="\n\n")
    add_lora(model, rank=16, alpha=32)
    learning = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    share = learning / sum(weight.numel() for weight in model.parameters())
    losses = train(model, loud_N, lr=4e-3, seed=1, **settings)
    print(f"adapter: loss {losses[0]:.3f} -> {losses[-1]:.3f} on capitals; {share:.0%} learn")
    print(sample(), end="\n\n")
    ids_BT = torch.tensor(loud_N[:64])[None]
    with torch.no_grad():
        before_BTV = model(ids_BT).logits
        after_BTV = merge(model)(ids_BT).logits
    difference = (before_BTV - after_BTV).abs().max().item()
    print(f"merged:  the largest difference of a logit is {difference:.1g}")
    return losses


if __name__ == "__main__":
    main()
