"""The operation as users run it: start, signals, draining, refusing what is not the model."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.serving.conftest import process

from llmwright.core.artifacts import Artifact, Store
from llmwright.core.errors import CheckError, InputError
from llmwright.core.events import Event, Notice
from llmwright.core.runs import Run
from llmwright.inference.predictor import Predictor
from llmwright.serving.config import ServeConfig
from llmwright.serving.serve import serve, sources_of
from llmwright.serving.served.probing import Proof, examples

Artifacts = Callable[[str], Artifact]


def new_run(folder: Path, events: list[Event]) -> Run:
    return Run("r", folder, folder, Store(folder / ".llmwright"), [events.append])


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_without_cutting_a_stream(
    artifacts: Artifacts, tmp_path: Path, number: signal.Signals
) -> None:
    body = {"prompt": "白", "temperature": 2.0, "max_tokens": 60, "stop": "$", "stream": True}
    with process(artifacts("poems"), tmp_path) as (address, server):
        reply = httpx.post(f"{address}/generate", data={"prompt": "白日"}, trust_env=False)
        assert reply.json()["text"].startswith("依山尽")
        with httpx.stream("POST", f"{address}/v1/completions", json=body, trust_env=False) as text:
            lines = text.iter_lines()
            next(lines)
            server.send_signal(number)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        output, _ = server.communicate(timeout=20)
        assert server.returncode == 0
        assert "every request was answered" in output
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/livez", trust_env=False)
    assert not (tmp_path / "ready.json").exists()


@pytest.mark.slow
def test_several_models_from_the_command_line(artifacts: Artifacts, tmp_path: Path) -> None:
    more = (f"models.labels={artifacts('intents').path}", "--name", "texts")
    with process(artifacts("poems"), tmp_path, *more) as (address, server):
        for name, route, body in (
            ("texts", "completions", {"prompt": "白", "max_tokens": 3}),
            ("labels", "classify", {"input": "where is my card"}),
        ):
            asked = {"model": name, **body}
            reply = httpx.post(f"{address}/v1/{route}", json=asked, trust_env=False, timeout=30)
            assert reply.json().get("model") == name, reply.text
        server.send_signal(signal.SIGTERM)
        output, _ = server.communicate(timeout=20)
    assert server.returncode == 0
    assert '"labels" is loaded' in output


def test_it_tells_where_it_answers_and_what_to_try(artifacts: Artifacts, tmp_path: Path) -> None:
    events: list[Event] = []
    ready = tmp_path / "ready.json"
    config = ServeConfig(port=0, ready_file=ready, name="sky", drain_seconds=1)
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            deadline = time.monotonic() + 30
            while not ready.is_file() and time.monotonic() < deadline:
                time.sleep(0.02)
            address = json.loads(ready.read_text(encoding="utf-8"))["address"]
            card = httpx.get(f"{address}/v1/models", trust_env=False).json()["data"][0]
            assert card["id"] == "sky"
            assert card["probes"]["status"] == "passed"
            assert card["probes"]["count"] == 4
            assert card["probes"]["details"]["token_agreement"] == 1.0
        except BaseException as error:
            failures.append(error)
        finally:
            signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=ask)
    thread.start()
    serve(config, {"model": artifacts("weather")}, new_run(tmp_path, events))
    thread.join()
    assert failures == []
    said = "\n".join(event.text for event in events if isinstance(event, Notice))
    assert "4 recorded probes are answered as they were after training" in said
    assert 'curl -X POST -F "description=' in said
    assert "every request was answered" in said


def changed(artifact: Artifact, folder: Path) -> Path:
    """Return a copy of a model whose weights are no longer those that were trained."""
    from safetensors.numpy import load_file, save_file

    copy = folder / "changed"
    shutil.copytree(artifact.path, copy)
    tensors = load_file(copy / "model.safetensors")
    name = max(tensors, key=lambda key: tensors[key].size)
    tensors[name] = tensors[name] * 1.5
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize("name", ["weather", "intents", "names"])
def test_a_model_that_answers_otherwise_is_not_served(
    artifacts: Artifacts, tmp_path: Path, name: str
) -> None:
    folder = changed(artifacts(name), tmp_path)
    with pytest.raises(CheckError, match="SERVE-003"):
        Proof(Predictor.open(folder, engine="torch")).begin(4)


def test_other_labels_are_not_served(artifacts: Artifacts, tmp_path: Path) -> None:
    folder = tmp_path / "swapped"
    shutil.copytree(artifacts("intents").path, folder)
    contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
    contract["labels"].reverse()
    (folder / "contract.json").write_text(json.dumps(contract), encoding="utf-8")
    with pytest.raises(CheckError, match="labels"):
        Proof(Predictor.open(folder, engine="torch")).begin(4)


def test_missing_probes_are_said_or_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(artifacts("intents").path, folder)
    (folder / "probes.safetensors").unlink()
    with pytest.raises(InputError, match="INFER-010"):
        Proof(Predictor.open(folder, engine="torch")).begin(4)
    (folder / "probes.json").unlink()
    contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
    contract["probes"] = None
    (folder / "contract.json").write_text(json.dumps(contract), encoding="utf-8")
    bare = Proof(Predictor.open(folder, engine="torch"))
    bare.begin(4)
    assert bare.report["status"] == "skipped"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("weather", "description"),
        ("intents", "question"),
        ("names", "text"),
        ("poems", "prompt"),
        ("talk", "prompt"),
    ],
)
def test_examples_are_inputs_under_the_users_names(
    artifacts: Artifacts, tmp_path: Path, name: str, field: str
) -> None:
    (source,) = sources_of(ServeConfig(), {"model": artifacts(name)}, tmp_path)
    model = source.open()
    found = examples(model)
    assert found
    for example in found:
        assert set(example) == {field}
        row, _ = model.read(example)
        assert model.predictor.encode(row).input_ids_T.size > 0


def test_the_name_survives_a_new_training(artifacts: Artifacts, tmp_path: Path) -> None:
    project = tmp_path / "my shop"
    project.mkdir()
    (source,) = sources_of(ServeConfig(), {"model": artifacts("intents")}, project)
    assert source.offer.name == "my-shop"
    assert source.size_bytes > (artifacts("intents").path / "model.safetensors").stat().st_size
