"""Checkpoints are complete or invisible, written beside the training, and found again whole."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from llmwright.core import files
from llmwright.core.errors import InputError, ResourceError
from llmwright.training.checkpoints import snapshot, tensors
from llmwright.training.checkpoints.snapshot import write_values
from llmwright.training.checkpoints.store import Checkpoints, complete_folder
from llmwright.training.checkpoints.tensors import TensorFile, host_buffer
from llmwright.training.runtimes.config import SingleRuntime
from llmwright.training.runtimes.runtime import Runtime
from llmwright.training.state import State

MINE = {"lr": 0.1, "inputs": {"dataset": "dataset-1"}}


def test_only_complete_checkpoints_are_seen(tmp_path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", MINE)
    (tmp_path / "checkpoints" / "step-00000009.123.tmp").mkdir()
    (tmp_path / "checkpoints" / "step-00000004").mkdir()
    (tmp_path / "checkpoints" / "step-00000007").mkdir()
    checkpoints = Checkpoints(tmp_path / "checkpoints", MINE)
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


class Bench:
    """A model of one layer that has made a step."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.folder = folder
        self.model = torch.nn.Linear(4, 4)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.5, fused=True)
        runtime = SingleRuntime(device="cpu", num_threads=1).build()
        self.trainee = SimpleNamespace(model=self.model, optimizer=self.optimizer, runtime=runtime)
        self.step()

    def step(self) -> None:
        self.model(torch.ones(1, 4)).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def checkpoints(self, **changed) -> Checkpoints:
        return Checkpoints(self.folder, {**MINE, **changed})

    def save(self, step: int, best_step: int | None = None) -> None:
        with self.checkpoints() as checkpoints:
            checkpoints.save(self.trainee, State(step=step, best_step=best_step))
            checkpoints.finish()

    def restore(self, **changed) -> tuple[State | None, list[str]]:
        said: list[str] = []
        checkpoints = self.checkpoints(**changed)
        found = checkpoints.restore(self.trainee, lambda sentence, level: said.append(sentence))
        return found, said

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def whole_state(self) -> list[torch.Tensor]:
        kept = [v.clone() for state in self.optimizer.state.values() for v in state.values()]
        return [*(w.detach().clone() for w in self.model.parameters()), *kept]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "checkpoints")


@pytest.mark.parametrize("share", [0.5, 0.0], ids=["copied", "without memory for copies"])
def test_what_is_kept_is_the_state_of_its_step(bench, monkeypatch, share) -> None:
    monkeypatch.setattr(snapshot, "MAX_SHARE", share)
    before, drawn = bench.whole_state(), torch.get_rng_state()
    with bench.checkpoints() as checkpoints:
        checkpoints.save(bench.trainee, State(step=3))
        # Training goes on at once; each step changes everything.
        for _ in range(3):
            bench.step()
        torch.rand(7)
        checkpoints.finish()
    assert not any(map(torch.equal, before, bench.whole_state()))
    found, _ = bench.restore()
    assert found is not None
    assert found.step == 3
    assert all(map(torch.equal, before, bench.whole_state()))
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_best_weights_are_written_once(bench) -> None:
    bench.save(3, best_step=3)
    step, best = (bench.folder / f"{name}-00000003" for name in ("step", "best"))
    assert (step / "model.safetensors").samefile(best / "model.safetensors")
    before = bench.whole_state()
    bench.step()
    bench.save(5, best_step=3)
    assert bench.names() == ["best-00000003", "step-00000005"]
    bench.checkpoints().load_best(bench.trainee, 3)
    assert torch.equal(bench.model.weight, before[0])


def test_what_a_kill_left_beside_the_checkpoint_is_removed(bench) -> None:
    bench.save(3, best_step=3)
    # The best weights of step 4 came after the last checkpoint: that run never reached them.
    shutil.copytree(bench.folder / "best-00000003", bench.folder / "best-00000004")
    (bench.folder / "step-00000005.77.tmp").mkdir()
    bench.restore()
    assert bench.names() == ["best-00000003", "step-00000003"]


@pytest.fixture
def full_disk():
    """No file may hold more than 100 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_failed_write_is_said_and_the_last_checkpoint_stays(bench, request) -> None:
    bench.save(3)
    request.getfixturevalue("full_disk")
    with bench.checkpoints() as checkpoints:
        checkpoints.save(bench.trainee, State(step=5))
        bench.step()
        with pytest.raises(ResourceError, match="CORE-020"):
            checkpoints.finish()
        checkpoints.check()
        assert bench.names() == ["step-00000003"]
        # The next one says it, too, when nobody asked meanwhile.
        checkpoints.save(bench.trainee, State(step=6))
        with pytest.raises(ResourceError, match="CORE-020"):
            checkpoints.save(bench.trainee, State(step=7))
    assert bench.restore()[0].step == 3


def test_checkpoints_hold_only_what_learns(bench) -> None:
    bench.model.bias.requires_grad_(False)
    bench.model.llmwright_rest_is_kept = True  # as adapters say
    bench.save(3)
    kept = load_file(bench.folder / "step-00000003" / "model.safetensors")
    assert set(kept) == {"weight"}
    bench.restore()


def test_a_checkpoint_of_another_run_is_refused_and_what_differs_is_named(bench) -> None:
    bench.save(3)
    with pytest.raises(InputError) as caught:
        bench.restore(lr=0.2, inputs={"dataset": "dataset-2"})
    assert caught.value.code == "TRAIN-010"
    assert caught.value.values["changes"] == (
        "inputs.dataset: dataset-1 → dataset-2, lr: 0.1 → 0.2"
    )


@pytest.fixture
def kept(bench):
    """Two sound checkpoints, at steps 3 and 5, of a weight of 3 and 5."""
    aside = bench.folder.parent / "aside"
    for step in (3, 5):
        torch.nn.init.constant_(bench.model.weight, step)
        bench.save(step)
        # An older one only stays where the run was killed before it could be removed.
        shutil.copytree(bench.folder / f"step-{step:08d}", aside / f"step-{step:08d}")
    shutil.copytree(aside, bench.folder, dirs_exist_ok=True)
    return bench


@pytest.mark.parametrize(
    "name", ["state.json", "model.safetensors", "optimizer.safetensors", "values.pt"]
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_behind_a_damaged_checkpoint_an_older_one_is_taken(kept, name, share) -> None:
    def damage(step: int) -> None:
        path = kept.folder / f"step-{step:08d}" / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    damage(5)
    found, said = kept.restore()
    assert found.step == kept.model.weight[0, 0].item() == 3
    assert "step-00000005 is damaged" in said[0]
    assert kept.names() == ["step-00000003"]
    damage(3)
    with pytest.raises(InputError, match="TRAIN-016"):
        kept.restore()


class Beside(Runtime):
    """A process beside another that sees other checkpoints and cannot read the first one it tries.

    It is process 1; the other one speaks through `heard`.
    """

    rank, world = 1, 2

    def __init__(self, heard) -> None:
        super().__init__(torch.device("cpu"), 1)
        self.heard = heard

    def collected(self, value):
        return [self.heard.pop(0), value]


def test_several_processes_take_what_process_0_sees_and_all_can_read(kept) -> None:
    names = ["step-00000005", "step-00000003"]
    # It cannot read the newest, though this one can; the older one both read and put into place.
    runtime = Beside([names, "OSError: gone", "", ""])
    trainee = SimpleNamespace(model=kept.model, optimizer=kept.optimizer, runtime=runtime)
    with Checkpoints(kept.folder, MINE, rank=1) as checkpoints:
        found = checkpoints.restore(trainee, lambda *_: None)
    assert found.step == kept.model.weight[0, 0].item() == 3
    assert runtime.heard == []
    # Process 0 alone tidies up.
    assert kept.names() == sorted(names)


def test_what_is_still_being_written_is_no_checkpoint_to_any_process(kept) -> None:
    shutil.copytree(kept.folder / "step-00000005", kept.folder / "step-00000007.12.tmp")
    with Checkpoints(kept.folder, MINE, rank=1) as checkpoints:
        assert checkpoints.latest().name == "step-00000005"


def test_the_state_alone_is_read_where_the_rest_is_not_wanted_yet(kept) -> None:
    runtime = kept.trainee.runtime
    torch.nn.init.constant_(kept.model.weight, 9)
    (kept.folder / "step-00000005" / "state.json").write_text("{")
    assert kept.checkpoints().state(runtime).step == 3
    assert kept.model.weight[0, 0].item() == 9
    with pytest.raises(InputError, match="TRAIN-010"):
        kept.checkpoints(lr=0.125).state(runtime)
    shutil.rmtree(kept.folder)
    assert kept.checkpoints().state(runtime) is None


def test_damaged_best_weights_are_said(kept) -> None:
    checkpoints = kept.checkpoints()
    checkpoints.save_best(kept.trainee, 4)
    checkpoints.finish()
    (kept.folder / "best-00000004" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="TRAIN-016"):
        checkpoints.load_best(kept.trainee, 4)


def test_only_what_is_wrong_with_the_disk_is_called_so(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="something else"), complete_folder(tmp_path / "a"):
        raise RuntimeError("something else")
    for fill in (
        lambda path: write_values(path, torch.zeros(1000)),
        lambda path: TensorFile({"a": torch.zeros(1000)}).write(path),
    ):
        with pytest.raises(ResourceError, match="CORE-020"), files.disk_errors(tmp_path):
            fill(Path("/dev/full"))


@pytest.mark.parametrize("direct", [tensors.DIRECT, 0])
def test_files_of_tensors_are_read_by_the_library(tmp_path, monkeypatch, direct) -> None:
    monkeypatch.setattr(tensors, "DIRECT", direct)
    given = {
        "bytes": torch.arange(3, dtype=torch.uint8),
        "none": torch.zeros(0, 4),
        "number": torch.tensor(7.0),
        "half": torch.randn(3, 5).bfloat16(),
        "turned": torch.randn(4, 6).T,
        "yes": torch.tensor([True, False]),
    }
    file = TensorFile(given)
    file.write(tmp_path / "live")
    file.stage(host_buffer(file.buffer_bytes))
    file.write(tmp_path / "staged")
    assert (tmp_path / "live").read_bytes() == (tmp_path / "staged").read_bytes()
    found = load_file(tmp_path / "staged")
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())
