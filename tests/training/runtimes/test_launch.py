"""Starting processes: their result, their errors, their end."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from llmwright.core.errors import ConfigError, InputError, ResourceError, StoppedError
from llmwright.core.events import ArtifactSaved, Notice
from llmwright.training.config import TrainConfig
from llmwright.training.runtimes.assignment import Assignment
from llmwright.training.runtimes.config import SingleRuntime, TorchrunRuntime
from llmwright.training.runtimes.launch import launch

HERE = Path(__file__).parent


@pytest.fixture
def together(bench, monkeypatch):
    """Let two processes do a piece of work."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))

    def work(name: str, run=None, **more):
        kind = TorchrunRuntime(num_processes=2, device="cpu", num_threads=1, **more)
        config = TrainConfig(runtime=kind)
        return launch(kind, Assignment(config, {}, run or bench.run(), f"rank_work:{name}"))

    return work


def notices(bench) -> list[str]:
    return [event.text for event in bench.events if isinstance(event, Notice)]


@pytest.mark.slow
def test_processes_make_one_artifact_and_speak_with_one_voice(bench, together) -> None:
    made = together("succeed")
    said = json.loads((made.path / "said.json").read_text())
    assert [each["rank"] for each in said] == [0, 1]
    # Nobody else can reach them.
    assert {address for each in said for address in each["listening"]} <= {"127.0.0.1"}
    assert notices(bench)[1:] == ["sum [3.0, 20.0]", "agreed [0.0]"]
    assert [e.artifact_id for e in bench.events if isinstance(e, ArtifactSaved)] == [made.id]


@pytest.mark.slow
def test_the_error_of_one_ends_all_and_is_the_launchers(together) -> None:
    with pytest.raises(InputError) as caught:
        together("fail_with_a_code")
    assert (caught.value.code, caught.value.where) == ("TRAIN-011", "train.csv:3")
    assert caught.value.values == {"rows": 7, "split": "train"}
    with pytest.raises(RuntimeError, match="(?s)process 1:.*nobody expected this"):
        together("fail_by_a_defect")


@pytest.mark.slow
def test_a_killed_process_ends_all(together) -> None:
    with pytest.raises(ResourceError) as caught:
        together("be_killed")
    assert caught.value.code == "TRAIN-123"
    assert caught.value.values["rank"] == 1
    assert caught.value.values["exit_code"] == -signal.SIGKILL
    assert not psutil.Process().children()


@pytest.mark.slow
def test_a_wish_to_stop_reaches_all(bench, together) -> None:
    run = bench.run()
    run.should_stop = lambda: any("pids" in sentence for sentence in notices(bench))
    with pytest.raises(StoppedError):
        together("wait_for_stop", run)


ORPHANS = """
import sys
from pathlib import Path
from llmwright.core.artifacts import Store
from llmwright.core.events import Notice
from llmwright.core.runs import Run
from llmwright.training.config import TrainConfig
from llmwright.training.runtimes.assignment import Assignment
from llmwright.training.runtimes.launch import launch
root = Path(sys.argv[1])
say = lambda event: isinstance(event, Notice) and print(event.text, flush=True)
run = Run("run", root, root, Store(root), [say])
kind = {"kind": "torchrun", "num_processes": 2, "device": "cpu", "num_threads": 1}
config = TrainConfig(runtime=kind)
launch(config.runtime, Assignment(config, {}, run, "rank_work:wait_for_stop"))
"""


@pytest.mark.slow
@pytest.mark.fault
def test_processes_whose_launcher_was_killed_end_by_themselves(tmp_path, together) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    line = next(line for line in launcher.stdout if line.startswith("pids"))
    pids = ast.literal_eval(line.removeprefix("pids "))
    launcher.send_signal(signal.SIGKILL)
    launcher.communicate()
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_what_cannot_be_started_is_said(together, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    kind = TorchrunRuntime(device="cpu")
    with pytest.raises(ConfigError, match="TRAIN-120"):
        launch(kind, None)
    with pytest.raises(ConfigError, match="TRAIN-125"):
        together("succeed", num_nodes=2, node_rank=2)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="TRAIN-121"):
        together("succeed")
    with pytest.raises(ConfigError, match="TRAIN-121"):
        SingleRuntime(device="cpu").build()


def test_each_machine_has_a_run_of_its_own_of_the_same_training() -> None:
    first, second = (TrainConfig(runtime=TorchrunRuntime(num_nodes=2, node_rank=n)) for n in (0, 1))
    assert first.deciding() == second.deciding() == TrainConfig().deciding()
    assert [first.part(), second.part(), TrainConfig().part()] == [0, 1, 0]
