"""Too little memory for a whole batch: the same training in smaller parts, and the same model."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from llmwright.core import jobs
from llmwright.core.project import Project

SCRIPT = Path(__file__).parent / "limited.py"
CGROUPS = Path("/sys/fs/cgroup/memory")
VALUES = {
    "model": {
        "kind": "scratch",
        "architecture": "decoder",
        "hidden_size": 64,
        "num_layers": 2,
        "num_heads": 2,
        "context": 128,
        "dropout": 0.0,
    },
    "runtime": {"kind": "single", "device": "cpu", "num_threads": 1},
    "precision": "float32",
    "lr": 1e-3,
    "batch_size": 64,
    "max_steps": 2,
    "checkpoint_every_steps": 1,
    "probes": {"count": 4},
}
pytestmark = [pytest.mark.slow, pytest.mark.fault]


def texts(words: list[str]) -> list[str]:
    """64 texts of 128 words."""
    return [
        " ".join(words[(start * 7 + i) % len(words)] for i in range(128)) for start in range(64)
    ]


@pytest.fixture
def project(bench) -> Path:
    # 1,500 words: 64 rows of 128 tokens have logits of 49 MB, and several copies of them.
    words = [f"w{number}" for number in range(1500)]
    rows = [
        {"text": " ".join(words[(start * 7 + i) % 1500] for i in range(128))} for start in range(64)
    ]
    dataset = bench.dataset("text-generation", "text", train=rows)
    tokenizer = bench.tokenizer([" ".join(words)] * 2, "none", "word")
    paths = {"dataset": str(dataset.path), "tokenizer": str(tokenizer.path)}
    (bench.root / "inputs.json").write_text(json.dumps(paths))
    return bench.root


def trained(root: Path, more_bytes: int, **values) -> Path:
    folder = root / f"limit-{more_bytes}"
    folder.mkdir()
    (folder / "inputs.json").write_bytes((root / "inputs.json").read_bytes())
    asked = [str(folder), json.dumps({**VALUES, **values}), str(more_bytes)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *asked], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_a_failed_allocation_on_a_processor_halves_the_micro_batch(project: Path) -> None:
    whole, limited = trained(project, 0), trained(project, 160 << 20)
    records = [json.loads((path / "training.json").read_text()) for path in (whole, limited)]
    assert records[0]["resolved"]["micro_batch_tokens"] is None
    assert 128 <= records[1]["resolved"]["micro_batch_tokens"] <= 4096
    assert records[1]["history"][0]["loss"] == pytest.approx(records[0]["history"][0]["loss"], 1e-5)
    a, b = (load_file(path / "model.safetensors") for path in (whole, limited))
    assert all((a[name] - b[name]).abs().max() < 1e-4 for name in a)


# Runs the project; once training begins, its control group may hold only so much more.
IN_GROUP = """
import sys
from pathlib import Path
from llmwright.cli.main import main
from llmwright.training import loop
from llmwright.training import train as training
group, more_bytes = Path(sys.argv[1]), int(sys.argv[2])
def steps(*arguments):
    (group / "memory.force_empty").write_text("0")
    used = int((group / "memory.usage_in_bytes").read_text())
    (group / "memory.limit_in_bytes").write_text(str(used + more_bytes))
    yield from loop.fit(*arguments)
training.fit = steps
sys.exit(main(["run", "--quiet"]))
"""
START = """
import os, sys
from pathlib import Path
from llmwright.core import jobs
(Path(sys.argv[2]) / "cgroup.procs").write_text(str(os.getpid()))
argv = [sys.executable, "-c", sys.argv[1], *sys.argv[2:4]]
print(jobs.start(Path(".llmwright").absolute(), argv, Path.cwd()).id)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of our own."""
    folder = CGROUPS / f"llmwright-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no right to make control groups (version 1) here")
    yield folder
    with contextlib.suppress(OSError):
        folder.rmdir()


def test_a_job_killed_by_the_system_goes_on_with_less_memory(tmp_path: Path, group: Path) -> None:
    rows = texts([f"w{number}" for number in range(1500)])
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in rows))
    sections = {
        "task": "text-generation",
        "prepare": {"source": "data.jsonl", "split": {"validation": 0, "test": 0}},
        "tokenize": {"kind": "word", "vocab_size": 1600},
        "train": VALUES,
    }
    (tmp_path / "llmwright.yaml").write_text(json.dumps(sections))
    asked = [sys.executable, "-c", START, IN_GROUP, str(group), str(100 << 20)]
    said = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    home = tmp_path / ".llmwright"
    deadline = time.monotonic() + 400
    while (job := jobs.find(home, said.stdout.strip())).status == "running":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    output = "".join(jobs.tail(home, job))
    assert job.status == "finished", output
    assert output.count("memory ran out. Starting it again") >= 1
    (run,) = Project(tmp_path).index.runs(step="train")
    model = Project(tmp_path).store.get(run.artifact or "")
    assert model is not None
    record = json.loads((model.path / "training.json").read_text())
    assert record["resolved"]["micro_batch_tokens"] < 64 * 128
    assert record["steps"] == 2
