"""A run that is killed or stopped goes on from its last checkpoint as if nothing had happened."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from llmwright.core import files
from llmwright.core.errors import InputError, ResourceError
from llmwright.training.checkpoint import Checkpoints, complete_folder, write_values
from llmwright.training.state import State

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
    for folder in ("whole", "killed", "stopped"):
        assert not (project / folder / "run" / "checkpoints").exists()


def test_only_complete_checkpoints_are_seen(tmp_path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", "x")
    (tmp_path / "checkpoints" / "step-00000009.123.tmp").mkdir()
    (tmp_path / "checkpoints" / "step-00000004").mkdir()
    (tmp_path / "checkpoints" / "step-00000007").mkdir()
    checkpoints = Checkpoints(tmp_path / "checkpoints", "x")
    assert checkpoints.latest() == tmp_path / "checkpoints" / "step-00000007"
    assert not list((tmp_path / "checkpoints").glob("*.tmp"))


def test_nothing_is_left_of_a_failed_write(tmp_path) -> None:
    def fill() -> None:
        with complete_folder(tmp_path / "step-1") as folder:
            (folder / "half").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(ResourceError) as caught:
        fill()
    assert caught.value.code == "CORE-020"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path) -> None:
    checkpoints = Checkpoints(tmp_path, "mine")
    (tmp_path / "step-00000001").mkdir()
    with pytest.raises(InputError, match="TRAIN-016"):
        checkpoints.restore(None, lambda *_: None)
    (tmp_path / "step-00000001" / "state.json").write_text('{"identity": "other"}')
    with pytest.raises(InputError, match="TRAIN-010"):
        checkpoints.restore(None, lambda *_: None)


@pytest.fixture
def kept(tmp_path):
    """Two sound checkpoints, at steps 3 and 5, of a weight of 3 and 5."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    trainee = SimpleNamespace(model=model, optimizer=torch.optim.AdamW(model.parameters()))
    model(torch.ones(1, 4)).sum().backward()
    trainee.optimizer.step()
    aside = tmp_path / "aside"
    for step in (3, 5):
        torch.nn.init.constant_(model.weight, step)
        path = Checkpoints(tmp_path / "checkpoints", "mine").save(trainee, State(step=step))
        # An older one only stays where the run was killed before it could be removed.
        shutil.copytree(path, aside / path.name)
    shutil.copytree(aside, tmp_path / "checkpoints", dirs_exist_ok=True)
    return tmp_path / "checkpoints", trainee


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "optimizer.pt", "random.pt"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_behind_a_damaged_checkpoint_an_older_one_is_taken(kept, name, share) -> None:
    folder, trainee = kept
    checkpoints = Checkpoints(folder, "mine")
    said: list[str] = []

    def restore(damaged: int) -> State:
        path = folder / f"step-{damaged:08d}" / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return checkpoints.restore(trainee, lambda sentence, level: said.append(sentence))

    assert restore(damaged=5).step == trainee.model.weight[0, 0].item() == 3
    assert "step-00000005 is damaged" in said[0]
    assert [path.name for path in folder.iterdir()] == ["step-00000003"]
    with pytest.raises(InputError, match="TRAIN-016"):
        restore(damaged=3)


def test_damaged_best_weights_are_said(kept) -> None:
    folder, trainee = kept
    checkpoints = Checkpoints(folder, "mine")
    checkpoints.save_best(trainee, 4)
    (folder / "best-00000004" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="TRAIN-016"):
        checkpoints.load_best(trainee, 4)


def test_only_what_is_wrong_with_the_disk_is_called_so(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="something else"), complete_folder(tmp_path / "a"):
        raise RuntimeError("something else")
    with pytest.raises(ResourceError, match="CORE-020"), files.disk_errors(tmp_path):
        write_values(Path("/dev/full"), torch.zeros(1000))
