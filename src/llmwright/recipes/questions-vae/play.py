"""Reconstruct questions, invent new ones, and walk from one to another: ``python play.py``."""

import torch

from llmwright.api import open_project
from llmwright.core.pipeline import find_artifact
from llmwright.models.load import load_model, load_tokenizer

made = find_artifact(open_project(), "model", None)
if made is None:
    raise SystemExit("no model yet: llmwright run")
model, tokenizer = load_model(made.path), load_tokenizer(made.path)


def ids(text: str) -> torch.Tensor:
    """Return a text between its begin and end token, as in training; shape (1, T)."""
    inner = tokenizer(text, add_special_tokens=False)["input_ids"]
    return torch.tensor([[tokenizer.bos_token_id, *inner, tokenizer.eos_token_id]])


def show(title: str, rows: torch.Tensor) -> None:
    """Print texts below a title."""
    print(title, *tokenizer.batch_decode(rows, skip_special_tokens=True), sep="\n  ")


first, second = "How do I activate my card?", "Why was I charged a fee for my transfer?"
for text in (first, second, "I want to change my PIN."):
    show(f"{text} →", model.reconstruct(ids(text)))
show("New questions:", model.sample(6, seed=1))
show("From one to the other:", model.interpolate(ids(first), ids(second), num_steps=6))
