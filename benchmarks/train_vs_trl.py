"""Instruction tuning on the CPU, TRL's SFTTrainer and ours side by side.

    python benchmarks/train_vs_trl.py --peer-python peers/bin/python [--seeds 1 2 3] [--quick]
        [--data alpaca_en_demo.json] [--peers default tuned packed]

A Llama-type model of 13.8M parameters (hidden 384, 6 layers, vocabulary 8,192) learns the 999 rows
of LLaMA-Factory's `alpaca_en_demo.json` (in `$LLMWRIGHT_DATA/llama_factory`), every tenth of them
held out, for one epoch. Claims, in real tokens per second (padding not counted): at least 4.5 times
TRL's defaults and 1.7 times TRL tuned (bf16, rows grouped by length, no checkpointing); held-out
loss within 2 %, mean of the seeds; peak memory no higher. Ours runs as it comes and with `compile`.

Both sides get the same first weights, tokenizer, rows, loss mask (the assistant's words), optimizer
and schedule, about as many tokens in a step, and a process of their own; they take turns. The
held-out loss is measured here, in float32, for both alike. The first steps are not in the speed.
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
from measure import Side, machine, needs, public_data, side, spread
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import llmwright
from llmwright.core.hardware import num_cores

ROWS_IN_BATCH, WARMUP_STEPS, MAX_LENGTH = 8, 5, 1024
LR, WARMUP_FRACTION, BETA2, WEIGHT_DECAY = 1e-3, 0.03, 0.99, 0.01
PACKAGES = "torch trl peft datasets transformers accelerate"

# What differs between the peers; all else stays as TRL has it: bf16 and gradient checkpointing on.
PEERS: dict[str, dict[str, Any]] = {
    "default": {},
    "tuned": {
        "bf16": True,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length",
    },
    # Rows of 1,024 tokens, two of which are about as many tokens as eight rows of their own.
    "packed": {"gradient_checkpointing": False, "packing": True, "per_device_train_batch_size": 2},
}
CLAIMS = {"default": 4.5, "tuned": 1.7}
# Ours as it comes, and with layers that are compiled whatever the length of the run.
OURS: dict[str, dict[str, Any]] = {"ours": {}, "ours compiled": {"compile": True}}


def conversations(path: Path) -> list[dict[str, Any]]:
    """Return Alpaca's rows as messages."""
    found = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        question = "\n".join(part for part in (row["instruction"], row["input"]) if part)
        turns = [("user", question), ("assistant", row["output"])]
        found.append({"messages": [{"role": role, "content": text} for role, text in turns]})
    return found


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_tokenizer(folder: Path, rows: Path) -> Path:
    """Return the folder of a tokenizer trained on the rows."""
    nothing_held_out = {"validation": 0, "test": 0}
    dataset = llmwright.prepare(
        source=str(rows), clean=[], split=nothing_held_out, project=folder
    )  # fmt: skip
    return llmwright.tokenize(dataset=dataset, kind="bpe", vocab_size=8192, project=folder).path


def make_model(folder: Path, tokenizer: Path, seed: int) -> Path:
    """Write first weights and the tokenizer into one folder."""
    words = AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    path = folder / f"model-{seed}"
    LlamaForCausalLM(config).save_pretrained(path)
    words.save_pretrained(path)
    return path


def ours(name: str, folder: Path, rows: Path, model: Path, seed: int, steps: int | None) -> Side:
    train = {
        "model": {"kind": "hub", "name": str(model)},
        "lr": LR,
        "schedule": {"kind": "linear", "warmup_fraction": WARMUP_FRACTION},
        "optimizer": {"kind": "adamw", "beta2": BETA2},
        "weight_decay": WEIGHT_DECAY,
        "epochs": 1,
        "max_steps": steps,
        "batch_tokens": ROWS_IN_BATCH * 256,
        "max_length": MAX_LENGTH,
        "seed": seed,
        "probes": {"count": 4},
        **OURS[name],
    }
    prepare = {"source": str(rows), "split": {"validation": 0, "test": 0}}
    asked = {"folder": str(folder), "prepare": prepare, "train": train}
    return side(sys.executable, "ours.py", asked, WARMUP_STEPS)


def theirs(
    python: str, name: str, folder: Path, rows: Path, model: Path, seed: int, steps: int | None
) -> Side:
    train = {
        "learning_rate": LR,
        "lr_scheduler_type": "linear",
        "warmup_steps": WARMUP_FRACTION,
        "adam_beta2": BETA2,
        "weight_decay": WEIGHT_DECAY,
        "num_train_epochs": 1,
        "max_steps": steps or -1,
        "per_device_train_batch_size": ROWS_IN_BATCH,
        "max_length": MAX_LENGTH,
        "seed": seed,
        **PEERS[name],
    }
    asked = {"folder": str(folder), "rows": str(rows), "model": str(model), "train": train}
    return side(python, "trl_chat.py", asked, WARMUP_STEPS)


@torch.no_grad()
def held_out_loss(folder: str, tokenizer: Path, rows: list[dict[str, Any]]) -> float:
    """Return nats per token of the assistant's words, in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    words = AutoTokenizer.from_pretrained(tokenizer)
    loss, count = 0.0, 0
    for row in rows:
        encoded = words.apply_chat_template(
            row["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        ids_T = torch.tensor(encoded["input_ids"][:MAX_LENGTH])
        learned_T = torch.tensor(encoded["assistant_masks"][:MAX_LENGTH])[1:].bool()
        logits_TV = model(ids_T[None, :-1]).logits[0]
        loss += float(
            functional.cross_entropy(logits_TV[learned_T], ids_T[1:][learned_T], reduction="sum")
        )
        count += int(learned_T.sum())
    return loss / count


Found = list[tuple[Side, float]]


def describe(name: str, found: Found) -> None:
    """Say what one side did."""
    speeds = spread([one.tokens_per_second for one, _ in found])
    loss = statistics.mean(loss for _, loss in found)
    peak = max(one.peak_bytes for one, _ in found) / 1e9
    warmup = spread([one.warmup_seconds for one, _ in found])
    print(
        f"{name}: {speeds} tokens/s, held-out loss {loss:.4f} (mean of {len(found)}), peak "
        f"{peak:.2f} GB; first {WARMUP_STEPS} steps, not counted: {warmup} s"
    )


def compare(name: str, mine: Found, peer: str, found: Found) -> None:
    """Say how ours compares with a peer."""
    pairs = list(zip(mine, found, strict=True))
    ratios = spread([a.tokens_per_second / b.tokens_per_second for (a, _), (b, _) in pairs])
    cores = spread([a.tokens_per_cpu_second / b.tokens_per_cpu_second for (a, _), (b, _) in pairs])
    losses = [statistics.mean(loss for _, loss in both) for both in (mine, found)]
    peaks = [max(one.peak_bytes for one, _ in both) for both in (mine, found)]
    claim = f" (claim {CLAIMS[peer]})" if peer in CLAIMS else ""
    print(
        f"{name} / {peer}: speed {ratios}{claim}, by processor time {cores}, "
        f"loss {losses[0] / losses[1] - 1:+.2%}, peak memory {peaks[0] / peaks[1]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, help="end each run here, not after the epoch")
    parser.add_argument("--quick", action="store_true", help="one seed, 12 steps")
    given = parser.parse_args()
    seeds, steps = ([1], 12) if given.quick else (given.seeds, given.steps)
    needs(given.peer_python, ["trl", "datasets"], PACKAGES)
    data = given.data or public_data("llama_factory/alpaca_en_demo.json")
    torch.set_num_threads(num_cores())
    rows = conversations(data)
    print(f"{machine()}; {len(rows)} rows, every tenth held out, {steps or 'an epoch of'} steps")
    found: dict[str, list[tuple[Side, float]]] = {name: [] for name in (*OURS, *given.peers)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path, held_out = folder / "rows.jsonl", rows[::10]
        write_rows(path, [row for index, row in enumerate(rows) if index % 10])
        tokenizer = make_tokenizer(folder / "tokenizer", path)
        for seed in seeds:
            model = make_model(folder, tokenizer, seed)
            for name in found:
                place = folder / f"{name}-{seed}"
                if name in OURS:
                    one = ours(name, place, path, model, seed, steps)
                else:
                    one = theirs(given.peer_python, name, place, path, model, seed, steps)
                loss = held_out_loss(one.result["model"], tokenizer, held_out)
                found[name].append((one, loss))
                print(
                    f"  seed {seed}, {name}: {one.tokens_per_second:.0f} tokens/s, loss {loss:.4f}"
                )
    for name, sides in found.items():
        describe(name, sides)
    for peer in given.peers:
        for name in OURS:
            compare(name, found[name], peer, found[peer])


if __name__ == "__main__":
    main()
