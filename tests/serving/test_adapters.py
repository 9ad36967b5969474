"""Adapters over one model: loaded and unloaded by an administrator, asked by their names."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.inference.engines.test_adapters import make_adapter
from tests.serving.conftest import ROWS

from llmwright.core.artifacts import Artifact, Store
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.probes import record_probes
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import Keys
from llmwright.serving.door.keys import create_key
from llmwright.serving.served.source import source_of
from llmwright.serving.server import background
from llmwright.tasks.contract import Contract

Artifacts = Callable[[str], Artifact]
Adapters = Callable[[str, int], Artifact]


@pytest.fixture(scope="module")
def adapter(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    """Return a random adapter over a tiny model, recorded with its probes."""
    root = tmp_path_factory.mktemp("adapters")
    store = Store(root / ".llmwright")

    @cache
    def made(name: str, seed: int) -> Artifact:
        base, folder = artifacts(name).path, root / f"{name}-{seed}"
        make_adapter(base, folder, seed, [])
        record_probes(folder, ROWS[name][1], Contract.open(folder), "train", 4)
        with store.draft("model") as draft:
            shutil.copytree(folder, draft.path, dirs_exist_ok=True)
        assert draft.artifact is not None
        return draft.artifact

    return made


@pytest.fixture
def client(
    request: pytest.FixtureRequest, artifacts: Artifacts, tmp_path: Path
) -> Iterator[httpx.Client]:
    """A server of two models; the client's key is the administrator's."""
    file = tmp_path / "keys.json"
    _, key = create_key("chief", file=file, scopes=("infer", "metrics", "admin"))
    settings: dict[str, Any] = getattr(request, "param", {})
    config = ServeConfig(port=0, access_log=False, num_probes=2, **settings)
    sources = [source_of(artifacts(name), name, "torch", 4) for name in ("poems", "intents")]
    with (
        background(create_app(sources, config, Keys({"plain": "plain"}, file)), config) as address,
        httpx.Client(base_url=address, timeout=30, trust_env=False) as found,
    ):
        found.headers["authorization"] = f"Bearer {key}"
        yield found


def load(client: httpx.Client, name: str, path: Path, **more: Any) -> httpx.Response:
    return client.post(
        "/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(path), **more}
    )


def text(client: httpx.Client, model: str | None = None) -> str:
    body = {"model": model, "prompt": "白日", "max_tokens": 12, "temperature": 0}
    reply = client.post("/v1/completions", json=body)
    assert reply.status_code == 200, reply.text
    found: str = reply.json()["choices"][0]["text"]
    return found


def alone(folder: Path) -> str:
    predictor = Predictor.open(folder)
    row = predictor.read("白日")
    written = predictor.write(predictor.encode(row), max_new_tokens=12, temperature=0)
    return "".join(delta.text for delta in written)


def test_an_adapter_answers_by_its_name(client: httpx.Client, adapter: Adapters) -> None:
    before = text(client)
    first, second = adapter("poems", 1), adapter("poems", 2)
    loaded = load(client, "team/first", first.path).json()
    assert (loaded["id"], loaded["parent"], loaded["state"]) == ("team/first", "poems", "ready")
    assert loaded["probes"]["status"] == "passed"
    assert load(client, "second", second.path).status_code == 200
    listed = {card["id"]: card["parent"] for card in client.get("/v1/models").json()["data"]}
    assert listed == {"poems": None, "intents": None, "team/first": "poems", "second": "poems"}
    # Together they answer as each of them does alone.
    with ThreadPoolExecutor(6) as pool:
        names = [None, "team/first", "second"] * 2
        found = list(pool.map(lambda name: text(client, name), names))
    assert found == [before, alone(first.path), alone(second.path)] * 2
    assert len(set(found)) == 3
    # A name's weights are swapped only on purpose.
    assert load(client, "second", first.path).json()["error"]["code"] == "name_taken"
    assert load(client, "second", first.path, load_inplace=True).status_code == 200
    assert text(client, "second") == text(client, "team/first")
    left = client.post("/v1/unload_lora_adapter", json={"lora_name": "second"}).json()
    assert [card["id"] for card in left["data"]] == ["team/first"]
    assert client.get("/v1/lora_adapters").json() == left
    gone = client.post("/v1/completions", json={"model": "second", "prompt": "x"})
    assert gone.status_code == 404
    assert text(client) == before
    metrics = client.get("/metrics").text
    assert 'llmwright_tokens_total{kind="completion",model="team/first"}' in metrics


def test_labels_through_an_adapter(client: httpx.Client, adapter: Adapters) -> None:
    found = adapter("intents", 3)
    assert load(client, "other", found.path, model="intents").status_code == 200
    body = {"input": ["where is my card", "my card was stolen"], "model": "other"}
    scores = [one["scores"] for one in client.post("/v1/classify", json=body).json()["data"]]
    predictor = Predictor.open(found.path)
    rows = [predictor.read(question) for question in body["input"]]
    expected = [answer["scores"] for answer in predictor.predict(rows)]
    for one, other in zip(scores, expected, strict=True):
        assert one == pytest.approx(other, abs=2e-6)
    plain = client.post("/v1/classify", json={**body, "model": "intents"}).json()["data"]
    assert plain[0]["scores"] != pytest.approx(scores[0], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("client", [{"keep_alive_seconds": 0.1}], indirect=True)
def test_adapters_come_back_with_their_model(client: httpx.Client, adapter: Adapters) -> None:
    found = adapter("poems", 1)
    assert load(client, "mine", found.path).status_code == 200
    waiting = threading.Event()
    for _ in range(400):
        if client.get("/v1/models/mine").json()["state"] == "unloaded":
            break
        waiting.wait(0.02)
    assert client.get("/v1/models/poems").json()["state"] == "unloaded"
    assert text(client, "mine") == alone(found.path)
    assert client.get("/v1/models/poems").json()["state"] == "ready"


@pytest.mark.parametrize("client", [{"max_adapters": 1}], indirect=True)
def test_what_is_no_adapter_of_this_model_is_refused(
    client: httpx.Client, adapter: Adapters, artifacts: Artifacts, tmp_path: Path
) -> None:
    found = adapter("poems", 1)
    before = text(client)
    for name, path, more, status in (
        ("poems", found.path, {"load_inplace": True}, 400),
        ("x", tmp_path / "missing", {}, 400),
        ("x", artifacts("weather").path, {}, 400),
        ("x", adapter("intents", 3).path, {}, 400),
        ("a\nb", found.path, {}, 400),
        ("x", found.path, {"model": "nothing"}, 404),
    ):
        reply = load(client, name, path, **more)
        assert reply.status_code == status, reply.text
    wrong = tmp_path / "wrong"
    shutil.copytree(found.path, wrong)
    shutil.copy(adapter("poems", 2).path / "probes.safetensors", wrong)
    assert load(client, "x", wrong).json()["error"]["code"] == "adapter_differs"
    assert client.get("/v1/lora_adapters").json()["data"] == []
    assert load(client, "one", found.path).status_code == 200
    # One that was to take its place and is refused leaves it as it was.
    answered = text(client, "one")
    refused = load(client, "one", wrong, load_inplace=True)
    assert refused.json()["error"]["code"] == "adapter_differs"
    assert text(client, "one") == answered == alone(found.path)
    assert load(client, "two", found.path).json()["error"]["code"] == "too_many_adapters"
    gone = client.post("/v1/unload_lora_adapter", json={"lora_name": "two"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "adapter_not_found")
    assert text(client) == before


def test_only_an_administrator_may(client: httpx.Client, adapter: Adapters) -> None:
    found = adapter("poems", 1)
    client.headers["authorization"] = "Bearer plain"
    assert load(client, "mine", found.path).status_code == 403
    body = {"lora_name": "mine"}
    assert client.post("/v1/unload_lora_adapter", json=body).status_code == 403
    assert client.get("/v1/lora_adapters").status_code == 403
    del client.headers["authorization"]
    assert load(client, "mine", found.path).status_code == 401


def test_an_open_server_has_no_administrator(weather: httpx.Client) -> None:
    assert load(weather, "mine", Path("somewhere")).status_code == 403
