"""Chat over HTTP with a 120M Llama-type model, `transformers serve` and ours side by side.

    python benchmarks/serving_chat.py --peer-python peers/bin/python [--rounds 3] [--quick]

The model (hidden 768, 16 layers, vocabulary 8,192) has first weights, a chat template and a stop
token that greedy writing never takes, so that each answer has the full length. Ours serves it as
GGUF through llama.cpp, the peer in bf16, plainly and with `--continuous-batching`; the same
conversations, greedy, streamed, one client and eight at once. Servers take turns in each round.

Claims: at least 4 times the peer's best at one stream, and its best at eight (goal 1.3 times); of
the same engine called in process at least 80 % at one and 70 % at eight; the first token of a
prompt of 128 tokens at most 1.3 times later than the engine's own reading of it; ready in 3 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measure import machine, needs, public_data, spread
from traffic import Reply, exchange, free_port, post, running
from train_vs_trl import conversations, make_tokenizer, write_rows
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import llmwright

PACKAGES = '"transformers[serving]" torch'
STREAMS = (1, 8)
PROMPT_TOKENS = 128
PEERS = {"transformers": [], "transformers, continuous batching": ["--continuous-batching"]}


def make_model(folder: Path) -> tuple[Path, Path]:
    """Return the folders of the model's artifact and of its plain files."""
    rows = conversations(public_data("llama_factory/alpaca_en_demo.json"))
    path = folder / "rows.jsonl"
    write_rows(path, rows)
    words = AutoTokenizer.from_pretrained(make_tokenizer(folder / "tokenizer", path))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=16,
        num_attention_heads=12,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # Its logit is 0, and the largest of 8,192 others is above.
        model.get_input_embeddings().weight[words.eos_token_id] = 0
    first = folder / "first"
    model.save_pretrained(first)
    words.save_pretrained(first)
    dataset = llmwright.prepare(
        source=str(path), split={"validation": 0, "test": 0}, project=folder / "project"
    )
    artifact = llmwright.train(
        dataset=dataset,
        model={"kind": "hub", "name": str(first)},
        lr=1e-7,
        max_steps=1,
        batch_tokens=1024,
        probes={"count": 4},
        project=folder / "project",
    )
    return artifact.path, first


def make_prompts(model: Path, count: int) -> list[list[dict[str, str]]]:
    """Return conversations that the template makes ``PROMPT_TOKENS`` tokens long, or nearly."""
    words = AutoTokenizer.from_pretrained(model)
    rows = conversations(public_data("llama_factory/alpaca_en_demo.json"))
    text = " ".join(row["messages"][1]["content"] for row in rows)
    found = []
    for index in range(count):
        part, length = text[index * 2000 :], 0
        for length in range(100, 1500, 2):
            turns = [{"role": "user", "content": f"{index} {part[:length]}"}]
            ids = words.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
            if len(ids["input_ids"]) >= PROMPT_TOKENS:
                break
        found.append(turns)
    return found


def bodies(model: str, prompts: list[Any], tokens: int) -> list[bytes]:
    """Return the requests, the same for all servers."""
    return [
        post(
            "/v1/chat/completions",
            {
                "model": model,
                "messages": turns,
                "max_tokens": tokens,
                "temperature": 0,
                "stream": True,
            },
        )
        for turns in prompts
    ]


def checked(replies: list[Reply]) -> None:
    """End with a sentence where an answer is not whole."""
    for reply in replies:
        events = reply.events() if reply.status == 200 else []
        reasons = [
            choice["finish_reason"]
            for event in events
            for choice in event["choices"]
            if choice.get("finish_reason")
        ]
        if reasons != ["length"]:
            raise SystemExit(
                f"status {reply.status}, ended by {reasons}: {bytes(reply.raw[-800:])!r}"
            )


class Found:
    """What was measured of one server: tokens/s by streams, first token, time to ready."""

    def __init__(self) -> None:
        self.speeds: dict[int, list[float]] = {count: [] for count in STREAMS}
        self.first: list[float] = []
        self.ready: list[float] = []

    def measure(self, port: int, model: str, prompts: list[Any], tokens: int) -> None:
        """Ask a running server; each set of prompts once to warm up where it is the first."""
        checked(exchange(port, bodies(model, prompts[-1:], 8)))
        place = 0
        for count in STREAMS:
            asked = prompts[place : place + count]
            place += count
            started = time.perf_counter()
            replies = exchange(port, bodies(model, asked, tokens))
            self.speeds[count].append(count * tokens / (time.perf_counter() - started))
            checked(replies)
        for turns in prompts[place : place + 5]:
            (reply,) = exchange(port, bodies(model, [turns], 2))
            self.first.append(reply.first_seconds * 1000)


def in_process(artifact: Path, prompts: list[Any], tokens: int) -> dict[str, Any]:
    """Return what the engine alone does with the same prompts, in a process of its own."""
    asked = json.dumps({"model": str(artifact), "prompts": prompts, "tokens": tokens})
    command = [sys.executable, str(Path(__file__).parent / "sides" / "writer.py")]
    done = subprocess.run(command, input=asked, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ours(artifact: Path, port: int) -> list[str]:
    program = [sys.executable, "-m", "llmwright.cli", "serve", str(artifact), "--port", str(port)]
    return [*program, "--name", "chat", "--max-concurrency", "8", "--project", str(artifact.parent)]


def theirs(python: str, model: Path, extra: list[str], port: int) -> list[str]:
    program = str(Path(python).with_name("transformers"))
    return [program, "serve", str(model), "--dtype", "bfloat16", "--port", str(port), *extra]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--precisions", nargs="+", default=["q8_0", "q4_0"])
    parser.add_argument("--quick", action="store_true", help="one round of 32 tokens")
    given = parser.parse_args()
    rounds, tokens = (1, 32) if given.quick else (given.rounds, given.tokens)
    needs(given.peer_python, ["transformers", "uvicorn", "fastapi"], PACKAGES)
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        artifact, plain = make_model(folder)
        prompts = make_prompts(plain, sum(STREAMS) + 6)
        exports = {
            precision: llmwright.export(
                model=str(artifact),
                format={"kind": "gguf", "precision": precision},
                tolerance=100.0,
                min_agreement=0.01,
                project=folder / "project",
            ).path
            for precision in given.precisions
        }
        found = {name: Found() for name in (*exports, *PEERS)}
        alone: dict[str, list[dict[str, Any]]] = {name: [] for name in exports}
        for _ in range(rounds):
            for name, path in exports.items():
                alone[name].append(in_process(path, prompts, tokens))
                port = free_port()
                with running(ours(path, port), port, "/readyz") as (_, seconds):
                    found[name].ready.append(seconds)
                    found[name].measure(port, "chat", prompts, tokens)
            for name, extra in PEERS.items():
                port = free_port()
                command = theirs(given.peer_python, plain, extra, port)
                with running(command, port, "/health") as (_, seconds):
                    found[name].ready.append(seconds)
                    found[name].measure(port, str(plain), prompts, tokens)
    report(found, alone)


def report(found: dict[str, Found], alone: dict[str, list[dict[str, Any]]]) -> None:
    """Print each server's figures, then the ratios that were claimed."""
    for name, one in found.items():
        speeds = ", ".join(f"{n} streams {spread(v)}" for n, v in one.speeds.items())
        print(f"{name}: {speeds} tokens/s; first token {spread(one.first)} ms; "
              f"ready {spread(one.ready)} s")  # fmt: skip
    for name, rounds in alone.items():
        speeds = ", ".join(f"{n} texts {spread([r[str(n)] for r in rounds])}" for n in STREAMS)
        prefill = spread([ms for r in rounds for ms in r["prefill_ms"]])
        print(f"{name} in process: {speeds} tokens/s; {PROMPT_TOKENS} tokens read in {prefill} ms")
    for name, rounds in alone.items():
        for count in STREAMS:
            pairs = zip(found[name].speeds[count], rounds, strict=True)
            share = spread([speed / one[str(count)] for speed, one in pairs])
            best = max(statistics.median(found[peer].speeds[count]) for peer in PEERS)
            times = spread([speed / best for speed in found[name].speeds[count]])
            print(f"{name}, {count} streams: {times} times the peer's best, "
                  f"{share} of the engine in process")  # fmt: skip
        reading = statistics.median(ms for one in rounds for ms in one["prefill_ms"])
        late = statistics.median(found[name].first) / reading
        print(f"{name}: the first token comes {late:.2f} times later than the prompt is read")


if __name__ == "__main__":
    main()
