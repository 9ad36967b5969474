"""A real project that runs in seconds, and ways to disturb it."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmwright.core import artifacts
from llmwright.core.events import RunStarted, read_events
from llmwright.core.project import Project

STEPS = {
    "prepare": "dataset",
    "tokenize": "tokenizer",
    "train": "model",
    "evaluate": "report",
    "export": "export",
}
WORDS = {
    "sun": ["warm", "bright", "dry"],
    "rain": ["wet", "grey", "dripping"],
    "wind": ["stormy", "gusty", "blowing"],
}
PROJECT = """
name: tiny
task: text-classification
prepare: {source: data.csv, split: {validation: 0.2, test: 0.2, seed: 1}}
tokenize: {kind: char}
train:
  model: {kind: scratch, architecture: recurrent, hidden_size: 16}
  epochs: 6
  batch_size: 8
  lr: 0.01
  checkpoint_every_steps: 2
  runtime: {kind: single, device: cpu, num_threads: 1}
evaluate: {metrics: [accuracy], num_bootstrap: 50}
export: {format: onnx}
"""
# These say how long something took; everything else of an artifact must be the same.
TIMED = {"parity.json", "report.html"}

# Runs the command line, and dies by kill -9 around the n-th write, sync, link or rename of what is
# in a folder: drafts become artifacts, checkpoints are where training goes on.
DYING = """
import os, signal, sys
when, name, folder, number = *sys.argv[1:4], int(sys.argv[4])
original, calls = getattr(os, name), 0
def counts(target):
    path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
    return f"/{folder}/" in path
def counted(*arguments, **options):
    global calls
    calls += counts(arguments[0])
    if calls == number and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    found = original(*arguments, **options)
    if calls == number and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return found
setattr(os, name, counted)
from llmwright.cli.main import main
main(["run", "--quiet"])
"""


def write(root: Path) -> None:
    """Write the project file and its data."""
    root.mkdir(parents=True)
    rows = [
        (f"{first} {second} {how} day", label)
        for label, words in WORDS.items()
        for first, second, how in itertools.product(words, words, ["very", "quite"])
    ]
    random.Random(0).shuffle(rows)
    with (root / "data.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    (root / "llmwright.yaml").write_text(PROJECT, encoding="utf-8")


def environment() -> dict[str, str]:
    """One thread each: many small processes share the machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "LLMWRIGHT_LANG": "en", "HF_HUB_OFFLINE": "1"}


def start(root: Path, *argv: str) -> subprocess.Popen[str]:
    """Start Python in the project, in a session of its own as a terminal would."""
    return subprocess.Popen(
        [sys.executable, *argv],
        cwd=root,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start_run(root: Path) -> subprocess.Popen[str]:
    """Start ``llmwright run``."""
    return start(root, "-m", "llmwright.cli", "run", "--json")


def run(root: Path) -> dict[str, Any]:
    """Run the project to its end and return its answer; fail when it fails."""
    process = start_run(root)
    said, noise = process.communicate(timeout=240)
    assert process.returncode == 0, said + noise
    answer: dict[str, Any] = json.loads(said)
    return answer


def wait_until(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    """Wait until something is seen in the project's folder."""
    deadline = time.monotonic() + 120
    while not moment():
        assert process.poll() is None, f"ended before: {process.communicate()}"
        assert time.monotonic() < deadline, "never came to that"
        time.sleep(0.002)


def begun(root: Path, step: str, known: set[str]) -> Callable[[], bool]:
    """Return a function that says whether a run of this step began that was not known before."""

    def look() -> bool:
        for log in (root / ".llmwright" / "runs").glob("*/events.jsonl"):
            if log.parent.name not in known:
                first = next((event for _, event in read_events(log)), None)
                if isinstance(first, RunStarted) and first.step == step:
                    return True
        return False

    return look


def known_runs(root: Path) -> set[str]:
    """Return the ids of the runs so far."""
    return {path.name for path in (root / ".llmwright" / "runs").glob("*")}


def unmade(finished: Path, target: Path, step: str) -> Path:
    """Return a copy of a finished project that lacks what one step made."""
    shutil.copytree(finished, target, dirs_exist_ok=True)
    shutil.rmtree(target / ".llmwright" / "artifacts" / STEPS[step])
    return target


def made(root: Path) -> dict[str, dict[str, str]]:
    """Return kind → file → hash of every visible artifact, each of them checked."""
    found: dict[str, dict[str, str]] = {}
    for artifact in Project(root).store.list():
        artifacts.check(artifact)
        listing = artifacts.list_files(artifact.path)
        content = {name: entry["sha256"] for name, entry in listing.items() if name not in TIMED}
        # Two exports may differ in how long their parity check took, in nothing else.
        assert found.setdefault(artifact.kind, content) == content, artifact.kind
    return found


def strays(root: Path) -> Iterator[Path]:
    """Yield what lies in the store without being part of an artifact."""
    store = root / ".llmwright" / "artifacts"
    for path in store.glob("*/*"):
        if not (path / artifacts.MANIFEST).is_file():
            yield path
    yield from store.rglob("*.tmp")


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to the whole group, as Ctrl-C in a terminal does."""
    os.killpg(process.pid, number)
