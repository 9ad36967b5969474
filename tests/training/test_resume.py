"""A run that is killed or stopped goes on from its last checkpoint as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmwright.core.errors import InputError
from llmwright.training import train as training

SCRIPT = Path(__file__).parent / "interrupted.py"

VALUES = {
    "model": {
        "kind": "scratch",
        "architecture": "encoder",
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 2,
        "dropout": 0.3,
    },
    "runtime": {"kind": "single", "device": "cpu", "num_threads": 1},
    "lr": 1e-2,
    "epochs": 4,
    "batch_size": 2,
    "accumulate": 2,
    "evaluate_every_steps": 3,
    "checkpoint_every_steps": 4,
    "log_every_steps": 1,
}


@pytest.fixture
def project(bench):
    rows = [
        {"text": f"{colour} {thing}", "label": "warm" if colour == "red" else "cold"}
        for colour in ("red", "blue", "grey")
        for thing in ("sun", "snow", "rain", "night", "day")
    ]
    dataset = bench.dataset(
        "text-classification", "classification", train=rows, validation=rows[::3]
    )
    tokenizer = bench.tokenizer(["red blue grey sun snow rain night day"], "cls_sep", "word")
    paths = {"dataset": str(dataset.path), "tokenizer": str(tokenizer.path)}
    (bench.root / "inputs.json").write_text(json.dumps(paths))
    return bench.root


def start(root: Path, folder: str, values=VALUES) -> subprocess.Popen[str]:
    (root / folder / "run").mkdir(parents=True, exist_ok=True)
    (root / folder / "inputs.json").write_bytes((root / "inputs.json").read_bytes())
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(root / folder), json.dumps(values)],
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return output.splitlines()


def kill_at(process: subprocess.Popen[str], step: int, how: signal.Signals) -> list[str]:
    seen = []
    for line in process.stdout:
        seen.append(line.strip())
        if line.strip() == str(step):
            process.send_signal(how)
            break
    rest, _ = process.communicate(timeout=60)
    return seen + rest.splitlines()


def weights(line: str) -> bytes:
    return (Path(line.split()[1]) / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.fault
def test_killed_and_stopped_runs_end_with_the_very_same_weights(project) -> None:
    whole = finish(start(project, "whole"))
    assert whole[:-1] == [str(step) for step in range(1, 17)]

    kill_at(start(project, "killed"), 6, signal.SIGKILL)
    kill_at(start(project, "killed"), 11, signal.SIGKILL)
    killed = finish(start(project, "killed"))
    # It began again behind a checkpoint, not at the start.
    assert int(killed[0]) in (9, 13)
    assert weights(killed[-1]) == weights(whole[-1])

    stopped = kill_at(start(project, "stopped"), 6, signal.SIGTERM)
    assert stopped[-1] == "stopped CORE-060"
    last = int(stopped[-2])
    resumed = finish(start(project, "stopped"))
    # Not a step is lost when there was time to save.
    assert int(resumed[0]) == last + 1
    assert weights(resumed[-1]) == weights(whole[-1])

    record = [
        json.loads((Path(lines[-1].split()[1]) / "training.json").read_text())
        for lines in (whole, killed, resumed)
    ]
    assert record[0] == record[1] == record[2]


@pytest.mark.slow
@pytest.mark.fault
def test_a_compiled_run_that_was_killed_ends_with_the_very_same_weights(
    project, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "programs"))
    values = {**VALUES, "compile": True, "model": {**VALUES["model"], "num_layers": 2}}
    whole = finish(start(project, "whole", values))
    kill_at(start(project, "killed", values), 6, signal.SIGKILL)
    killed = finish(start(project, "killed", values))
    assert weights(killed[-1]) == weights(whole[-1])


def test_a_position_of_other_batches_is_refused(bench, tiny, monkeypatch) -> None:
    rows = [{"text": f"red sun {'snow ' * (n % 5)}", "label": "ab"[n % 2]} for n in range(24)]
    dataset = bench.dataset("text-classification", "classification", train=rows)
    tokenizer = bench.tokenizer(["red sun snow"], "cls_sep", "word")
    values = {"model": tiny("encoder"), "max_steps": 4, "checkpoint_every_steps": 2}
    monkeypatch.setattr(training, "DEFAULT_BATCH_SIZE", 8)
    bench.train(values, dataset, tokenizer)
    assert list((bench.root / "runs" / "run" / "checkpoints").glob("step-*"))
    # Another version of the program, or another machine, has other limits.
    monkeypatch.setattr(training, "DEFAULT_BATCH_SIZE", 4)
    with pytest.raises(InputError, match=r"TRAIN-010.*num_batches: 3 → 6"):
        bench.train(values, dataset, tokenizer)
