"""How much of a question the VAE's vector keeps: `python benchmarks/questions_vae.py`.

Claims of the recipe's README: KL divergence, the bound on the negative log likelihood, and the
share of words found again in greedy reconstructions, each over every sixth test question, for the
recipe and for KL weight 1 without free bits.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
from measure import machine

from llmwright.data.records import Dataset
from llmwright.models.load import load_model, load_tokenizer
from llmwright.models.vae.modeling import TextVae, kl_divergence
from llmwright.recipes import shipped

SETTINGS: dict[str, list[str]] = {
    "the recipe": [],
    "KL weight 1, no free bits": [
        "train.objective.kl_weight=1.0",
        "train.objective.free_bits=0.0",
    ],
}


def run(folder: Path, overrides: list[str]) -> tuple[Path, Path]:
    """Run the recipe up to its model and return the folders of model and dataset."""
    command = [sys.executable, "-m", "llmwright.cli", "run", "--json", *overrides]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    steps = {s["step"]: s["artifact"]["path"] for s in json.loads(done.stdout)["steps"]}
    return folder / steps["train"], folder / steps["prepare"]


@torch.inference_mode()
def measure(model_folder: Path, dataset_folder: Path) -> str:
    """Return the figures of one trained model."""
    model, tokenizer = load_model(model_folder), load_tokenizer(model_folder)
    assert isinstance(model, TextVae)
    kls, bounds, found, total = [], [], 0, 0
    generator = torch.Generator().manual_seed(0)
    for row in Dataset.open(dataset_folder).rows("test")[::6]:
        inner = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        ids_1T = torch.tensor([[tokenizer.bos_token_id, *inner, tokenizer.eos_token_id]])
        mu_1L, logvar_1L = model.encode(ids_1T)
        kl = float(kl_divergence(mu_1L, logvar_1L).sum())
        # One draw from the posterior gives an unbiased estimate of the bound.
        noise_1L = torch.randn(mu_1L.shape, generator=generator)
        latent_1L = mu_1L + (0.5 * logvar_1L).exp() * noise_1L
        log_probs_TV = model(ids_1T, latent=latent_1L).logits[0, :-1].float().log_softmax(dim=-1)
        nll = -float(log_probs_TV.gather(1, ids_1T[0, 1:, None]).sum())
        kls.append(kl)
        bounds.append(nll + kl)
        written = Counter(model.reconstruct(ids_1T)[0].tolist())
        found += sum((Counter(inner) & written).values())
        total += len(inner)
    return (
        f"{len(kls)} questions: KL {sum(kls) / len(kls):.1f} nats, bound "
        f"{sum(bounds) / len(bounds):.1f} nats, words found again {found / total:.0%}"
    )


def main() -> None:
    print(machine())
    for name, overrides in SETTINGS.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            shipped.copy(shipped.find("questions-vae"), folder)
            print(f"{name:28} {measure(*run(folder, overrides))}")


if __name__ == "__main__":
    main()
