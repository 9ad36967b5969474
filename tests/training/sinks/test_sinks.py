"""Experiment trackers: what they wrote is read back; a resumed run goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, ResourceError
from llmwright.core.events import Event, EventFile, Metric, Notice, RunStarted
from llmwright.core.runs import Run
from llmwright.training.config import TrainConfig
from llmwright.training.sinks.config import SINKS, SinkKind
from llmwright.training.sinks.sink import Sink
from llmwright.training.sinks.writing import writing

TEXTS = ["red sun", "blue rain", "cold snow"] * 4
STEPS = list(range(1, 11))
Figures = dict[str, list[tuple[int, float]]]


def values(tiny, *sinks: Any) -> dict[str, Any]:
    return {
        "model": tiny(context=16),
        "lr": 1e-2,
        "batch_size": 4,
        "max_steps": 10,
        "log_every_steps": 1,
        "evaluate_every_steps": 5,
        "checkpoint_every_steps": 4,
        "sample_prompts": ["red"],
        "sinks": list(sinks),
    }


class Stop:
    """Ends the process' work at a step, as a kill does: later than its last checkpoint."""

    def __init__(self, step: int) -> None:
        self._step = step

    def __call__(self, event: Event) -> None:
        if isinstance(event, Metric) and event.step == self._step and event.split == "train":
            raise KeyboardInterrupt


@pytest.fixture
def trained(bench, tiny, monkeypatch: pytest.MonkeyPatch):
    """Return a function that trains with a sink, once or killed at step 7 and resumed."""
    rows = [{"text": text} for text in TEXTS]
    dataset = bench.dataset("text-generation", "text", train=rows, validation=rows[:3])
    tokenizer = bench.tokenizer(TEXTS)

    def start(sink: Any, killed: bool) -> None:
        given = values(tiny, sink)
        whole = bench.run
        with EventFile(whole("run").folder / "events.jsonl") as events:

            def followed(name: str, *more: Any) -> Run:
                run = whole(name)
                for consumer in (events, *more):
                    run.follow(consumer)
                return run

            if killed:
                monkeypatch.setattr(bench, "run", lambda name: followed(name, Stop(7)))
                with pytest.raises(KeyboardInterrupt):
                    bench.train(given, dataset, tokenizer)
            monkeypatch.setattr(bench, "run", followed)
            bench.train(given, dataset, tokenizer)

    return start


def said(bench) -> str:
    return "\n".join(event.text for event in bench.events if isinstance(event, Notice))


def expected(bench) -> Figures:
    """Return what the events said, each step once."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for event in bench.events:
        if isinstance(event, Metric):
            found[f"{event.split}/{event.name}"][event.step] = event.value
    return {name: sorted(points.items()) for name, points in found.items()}


def check(found: Figures, bench) -> None:
    wanted = expected(bench)
    assert {"train/loss", "train/lr", "train/grad_norm", "validation/loss"} <= wanted.keys()
    for name, points in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points], name
        assert [v for _, v in found[name]] == pytest.approx([v for _, v in points], rel=1e-5)
    assert [step for step, _ in wanted["train/grad_norm"]] == STEPS
    assert [step for step, _ in wanted["validation/loss"]] == [5, 10]
    assert "train/tokens_per_second" in found


@pytest.mark.parametrize("killed", [False, True])
def test_tensorboard(killed: bool, bench, trained) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained("tensorboard", killed)
    folder = bench.root / "runs" / "run" / "tensorboard"
    assert f"tensorboard --logdir {folder}" in said(bench)
    written = EventAccumulator(str(folder)).Reload()
    found = {
        name: [(point.step, point.value) for point in written.Scalars(name)]
        for name in written.Tags()["scalars"]
    }
    check(found, bench)
    samples = written.Tensors("samples/red/text_summary")
    # Of two at one step, TensorBoard's pages show the later one.
    assert sorted({sample.step for sample in samples}) == [5, 10]
    assert samples[-1].tensor_proto.string_val[0].decode().startswith("    red")
    (settings,) = written.Tensors("settings/text_summary")
    assert "batch_size: 4" in settings.tensor_proto.string_val[0].decode()


def test_tensorboard_in_a_folder_of_its_own(bench, trained) -> None:
    trained({"kind": "tensorboard", "folder": "board"}, False)
    assert f"--logdir {bench.root / 'board'}" in said(bench)
    assert list((bench.root / "board" / "run").glob("events.out.tfevents.*"))


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_mlflow(killed: bool, bench, trained) -> None:
    with warnings.catch_warnings(action="ignore"):
        trained({"kind": "mlflow", "experiment": "tiny"}, killed)
        from mlflow.tracking import MlflowClient

        uri = f"sqlite:///{bench.root / '.llmwright' / 'mlflow' / 'mlflow.db'}"
        assert f"mlflow ui --backend-store-uri {uri}" in said(bench)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("tiny")
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert run.data.params["batch_size"] == "4"
        assert run.data.params["model.architecture.kind"] == "decoder"
        found = {
            name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        check(found, bench)
        names = {file.path for file in client.list_artifacts(run.info.run_id, "samples")}
    assert names == {"samples/step-00000005.txt", "samples/step-00000010.txt"}
    (text,) = bench.root.rglob("step-00000010.txt")
    assert text.read_text().startswith("red\n→ ")


def records_of(file: Path):
    """Yield the records of a .wandb file: a LevelDB log of protobuf messages."""
    from wandb.proto import wandb_internal_pb2

    content, place, parts = file.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + size]
        place += 7 + size
        # 1 is a whole record; 2, 3, 4 are its first, middle and last part.
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def wandb_files(folder: Path) -> list[tuple[Figures, str, str]]:
    """Return for each file in order of time: figures, run id, settings as JSON."""
    found = []
    for file in sorted(folder.rglob("*.wandb")):
        figures: Figures = defaultdict(list)
        identity = settings = ""
        for record in records_of(file):
            if record.HasField("run"):
                identity = record.run.run_id
                settings = "".join(f"{u.key}{u.value_json}" for u in record.run.config.update)
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                if not name.startswith("_"):
                    value = json.loads(item.value_json)
                    figures[name].append((record.history.step.num, value))
        found.append((figures, identity, settings))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_wandb(killed: bool, bench, trained) -> None:
    trained({"kind": "wandb", "folder": "w"}, killed)
    # The file of a resumed run holds all of it; the one that the kill cut is gone.
    ((figures, identity, settings),) = wandb_files(bench.root / "w")
    assert identity == "run"
    assert '"decoder"' in settings
    assert "wandb sync " + str(bench.root / "w" / "wandb") in said(bench)
    check(figures, bench)
    assert figures["samples/nrows"] == [(5, 1), (10, 1)]


SCRIPT = Path(__file__).parents[1] / "interrupted.py"


def lines_until(root: Path, given: dict[str, Any], last: str | None) -> list[str]:
    """Train in a process of its own, killed when it says ``last``; return what it said."""
    command = [sys.executable, str(SCRIPT), str(root), json.dumps(given)]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            said.append(line.strip())
            if line.strip() == last:
                process.kill()
    return said


@pytest.mark.slow
@pytest.mark.fault
def test_curves_have_no_gap_after_a_real_kill(bench, tiny) -> None:
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    dataset = bench.dataset("text-generation", "text", train=[{"text": text} for text in TEXTS])
    paths = {"dataset": str(dataset.path), "tokenizer": str(bench.tokenizer(TEXTS).path)}
    (bench.root / "inputs.json").write_text(json.dumps(paths))
    (bench.root / "run").mkdir()
    sinks = [{"kind": "mlflow", "experiment": "tiny"}, "tensorboard", "wandb"]
    given = {**values(tiny, *sinks), "max_steps": 16, "sample_prompts": []}
    given["runtime"] = {"kind": "single", "num_threads": 1, "device": "cpu"}
    assert lines_until(bench.root, given, "12")[-1] != "done"
    resumed = lines_until(bench.root, given, None)
    assert int(resumed[0]) > 1
    artifact = Path(resumed[-1].split()[1])
    history = json.loads((artifact / "training.json").read_text())["history"]
    wanted = [(entry["step"], entry["loss"]) for entry in history]
    assert [step for step, _ in wanted] == list(range(1, 17))
    board = EventAccumulator(str(bench.root / "run" / "tensorboard")).Reload()
    with warnings.catch_warnings(action="ignore"):
        store = bench.root / ".llmwright" / "mlflow" / "mlflow.db"
        client = MlflowClient(tracking_uri=f"sqlite:///{store}")
        (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
        points = client.get_metric_history(run.info.run_id, "train/loss")
    ((figures, *_),) = wandb_files(bench.root / "run")
    found = {
        "tensorboard": [(point.step, point.value) for point in board.Scalars("train/loss")],
        "mlflow": [(point.step, point.value) for point in points],
        "wandb": figures["train/loss"],
    }
    for name, curve in found.items():
        assert [step for step, _ in curve] == [step for step, _ in wanted], name
        assert [v for _, v in curve] == pytest.approx([v for _, v in wanted], rel=1e-5), name


def test_a_missing_package_is_said_before_anything_else(
    tiny, bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, package in (("tensorboard", "tensorboard"), ("mlflow", "mlflow"), ("wandb", "wandb")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            config = parse(TrainConfig, values(tiny, kind))
            from llmwright.training.train import train

            with pytest.raises(ResourceError) as caught:
                train(config, {}, bench.run())
        assert caught.value.code == "TRAIN-170"
        assert f'pip install "llmwright[{kind}]"' in caught.value.fix


def test_a_folder_that_cannot_be_written_is_said(bench) -> None:
    (bench.root / "taken").write_text("a file")
    sink = SINKS.get("tensorboard")(folder="taken")
    with pytest.raises(ResourceError) as caught, writing([sink], bench.run(), {}, 0):
        pass
    assert caught.value.code == "TRAIN-171"


def test_two_of_one_kind_are_refused(tiny) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        parse(TrainConfig, values(tiny, "tensorboard", {"kind": "tensorboard", "folder": "x"}))


class Fragile(Sink):
    def __init__(self) -> None:
        self.figures: list[str] = []
        self.closed: list[bool] = []

    def figure(self, name: str, value: float, step: int) -> None:
        if step == 2:
            raise OSError("no space left")
        self.figures.append(name)

    def sample(self, prompt: str, answer: str, step: int) -> None:
        self.figures.append(prompt)

    def close(self, failed: bool) -> None:
        self.closed.append(failed)


class FragileKind(SinkKind):
    kind: str = "fragile"

    def build(self, request: Any) -> Sink:
        return SINK


SINK = Fragile()


def test_a_sink_that_fails_is_said_and_left_alone(bench) -> None:
    SINK.__init__()
    run = bench.run()
    with writing([FragileKind()], run, {}, 0):
        for step in (1, 2, 3):
            run.emit(Metric("loss", 1.0, step))
    assert SINK.figures == ["loss"]
    assert SINK.closed == []
    assert said(bench).count("no space left") == 1


@pytest.mark.parametrize("failed", [False, True])
def test_a_sink_hears_how_it_ended_and_nothing_after(failed: bool, bench) -> None:
    SINK.__init__()
    run = bench.run()
    ends = pytest.raises(KeyError, match="end") if failed else contextlib.nullcontext()
    with ends, writing([FragileKind()], run, {}, 0):
        run.emit(RunStarted("run", "train", "train"))
        run.emit(Metric("loss", 1.0, 1, "train"))
        if failed:
            raise KeyError("end")
    run.emit(Metric("loss", 1.0, 3))
    assert SINK.figures == ["train/loss"]
    assert SINK.closed == [failed]
