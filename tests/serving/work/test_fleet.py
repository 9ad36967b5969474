"""Several models: loaded when asked for, unloaded for others; engines that hang or die."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError, ResourceError
from llmwright.core.events import Emit, unheard
from llmwright.inference.engines.config import ENGINES
from llmwright.inference.engines.engine import Decoding
from llmwright.inference.engines.torch_engine import TorchEngine
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.served.source import Source, source_of
from llmwright.serving.server import HttpServer, background, listen

Artifacts = Callable[[str], Artifact]
TEXT = {"prompt": "x", "max_tokens": 2, "temperature": 0}


class Control:
    """What the test engine does; set by a test while a server runs."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.loaded: list[str] = []
        self.may_open = threading.Event()
        self.may_step = threading.Event()
        self.broken = self.dies = False
        self.inside = 0
        self.reset()

    def reset(self) -> None:
        self.opened.clear()
        self.loaded.clear()
        self.may_open.set()
        self.may_step.set()
        self.broken = self.dies = False

    def step(self) -> None:
        if self.dies:
            self.dies = False
            raise SystemExit("the thread dies")
        if self.broken:
            raise RuntimeError("the engine is broken")
        self.inside += 1
        self.may_step.wait(20)
        self.inside -= 1


CONTROL = Control()


class ControlledEngine(TorchEngine):
    """The real engine, which waits where a test wants it to."""

    name = "controlled"
    # Other tests of this process must not get it.
    automatic = False

    @classmethod
    def open(cls, folder: Path, contract: Any, emit: Emit = unheard) -> ControlledEngine:
        CONTROL.opened.append(folder.name)
        CONTROL.may_open.wait(20)
        engine = super().open(folder, contract, emit)
        assert isinstance(engine, ControlledEngine)
        CONTROL.loaded.append(folder.name)
        return engine

    @property
    def prefix_cache(self) -> tuple[int, int]:
        return 10 * len(CONTROL.loaded), 4 * len(CONTROL.loaded)

    def logits(self, batch: Any, adapters: Any = None) -> np.ndarray:
        CONTROL.step()
        return super().logits(batch, adapters)

    def begin(self, prompts: Sequence[np.ndarray], *more: Any, **named: Any) -> Decoding:
        CONTROL.step()
        return super().begin(prompts, *more, **named)


if "controlled" not in ENGINES:
    ENGINES.register("controlled", ControlledEngine)


@pytest.fixture
def control() -> Iterator[Control]:
    CONTROL.reset()
    yield CONTROL
    CONTROL.reset()


def source(artifact: Artifact, name: str) -> Source:
    return source_of(artifact, name, "controlled", 4)


@contextlib.contextmanager
def running(sources: Sequence[Source], **settings: Any) -> Iterator[httpx.Client]:
    settings = {"port": 0, "access_log": False, "num_probes": 0, **settings}
    config = ServeConfig(**settings)
    with (
        background(create_app(sources, config), config) as address,
        httpx.Client(base_url=address, timeout=30, trust_env=False) as client,
    ):
        yield client


@contextlib.contextmanager
def starting(sources: Sequence[Source], **settings: Any) -> Iterator[httpx.Client]:
    """A server whose first model may still be loading."""
    config = ServeConfig(port=0, access_log=False, num_probes=0, **settings)
    server = HttpServer(create_app(sources, config), config)
    with listen(config.host, config.port) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
                yield client
        finally:
            server.stop()
            thread.join()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def states(client: httpx.Client) -> dict[str, str]:
    return {card["id"]: card["state"] for card in client.get("/v1/models").json()["data"]}


def card(client: httpx.Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/models/{name}").json()
    return found


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"llmwright_{name}"))


def ask(client: httpx.Client, model: str | None = None, **more: Any) -> httpx.Response:
    body = {**TEXT, "model": model, **more}
    with httpx.Client(base_url=client.base_url, timeout=30, trust_env=False) as own:
        return own.post("/v1/completions", json=body)


def code(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_a_model_is_loaded_once_when_it_is_first_asked_for(
    artifacts: Artifacts, control: Control
) -> None:
    sources = [source(artifacts("weather"), "first"), source(artifacts("poems"), "team/second")]
    with running(sources) as client, ThreadPoolExecutor(6) as pool:
        assert states(client) == {"first": "ready", "team/second": "unloaded"}
        assert card(client, "team/second")["engine"] is None
        control.may_open.clear()
        replies = [pool.submit(ask, client, "team/second") for _ in range(6)]
        wait_until(lambda: states(client)["team/second"] == "loading")
        # The first one answers meanwhile, and nothing is wrong.
        assert ask(client).json()["model"] == "first"
        assert client.get("/readyz").status_code == 200
        control.may_open.set()
        assert [reply.result().status_code for reply in replies] == [200] * 6
        assert states(client) == {"first": "ready", "team/second": "ready"}
        assert len(control.opened) == 2
        assert ask(client, "third").status_code == 404
        labels = {"model": "team/second"}
        assert client.post("/generate", params=labels, json={"prompt": "白"}).status_code == 200
        text = client.get("/metrics").text
        assert 'llmwright_tokens_total{kind="completion",model="team/second"}' in text
        assert 'llmwright_prefix_cache_tokens_total{kind="hit",model="team/second"} 8.0' in text
        # What was counted once is not counted again.
        assert client.get("/metrics").text.count('kind="hit",model="team/second"} 8.0') == 1


def test_waiting_for_a_load_counts_for_the_deadline(artifacts: Artifacts, control: Control) -> None:
    sources = [source(artifacts("weather"), "a"), source(artifacts("poems"), "b")]
    with running(sources, request_timeout_seconds=0.5) as client:
        control.may_open.clear()
        assert code(ask(client, "b")) == (504, "timeout")
        control.may_open.set()
        wait_until(lambda: states(client)["b"] == "ready")
        assert ask(client, "b").status_code == 200


@pytest.mark.slow
def test_the_least_recently_used_model_makes_room(artifacts: Artifacts, control: Control) -> None:
    sources = [source(artifacts(name), name) for name in ("weather", "poems", "talk")]
    sizes = [one.size_bytes for one in sources]
    with running(sources, max_memory_bytes=sum(sizes) - min(sizes)) as client:
        # What a model took is measured, so at least one has to go for another.
        for name in ("poems", "talk", "weather"):
            time.sleep(1.1)
            assert ask(client, name).status_code == 200
            assert states(client)[name] == "ready"
        assert "unloaded" in states(client).values()
        gone = [name for name, state in states(client).items() if state == "unloaded"]
        assert card(client, gone[0])["problem"] == "evicted"
        assert metric(client, "model_unloads_total") >= 1


@pytest.mark.slow
def test_a_model_at_work_is_not_taken_away(artifacts: Artifacts, control: Control) -> None:
    sources = [source(artifacts("weather"), "busy"), source(artifacts("poems"), "other")]
    limit = sum(one.size_bytes for one in sources) - 1
    with running(sources, max_memory_bytes=limit) as client, ThreadPoolExecutor(2) as pool:
        control.may_step.clear()
        first = pool.submit(ask, client, "busy")
        wait_until(lambda: control.inside == 1)
        second = pool.submit(ask, client, "other")
        time.sleep(1.3)
        assert states(client) == {"busy": "ready", "other": "unloaded"}
        control.may_step.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]
        assert states(client) == {"busy": "unloaded", "other": "ready"}


def test_a_model_that_never_fits_is_refused(artifacts: Artifacts, control: Control) -> None:
    both = [source(artifacts(name), name) for name in ("weather", "poems")]
    small, large = sorted(both, key=lambda one: one.size_bytes)
    assert small.size_bytes < large.size_bytes
    with running([small, large], max_memory_bytes=large.size_bytes - 1) as client:
        assert code(ask(client, large.offer.name)) == (503, "model_too_large")
        assert states(client)[small.offer.name] == "ready"
    with pytest.raises(ResourceError, match="SERVE-015"), running([large], max_memory_bytes=1):
        raise AssertionError("it was served")


@pytest.mark.slow
def test_an_idle_model_is_unloaded_until_it_is_asked_for(
    artifacts: Artifacts, control: Control
) -> None:
    with running([source(artifacts("weather"), "only")], keep_alive_seconds=0.1) as client:
        wait_until(lambda: states(client)["only"] == "unloaded")
        assert client.get("/readyz").status_code == 200
        assert ask(client).status_code == 200
        assert len(control.opened) == 2
        # What was counted before it was unloaded is not lost.
        assert metric(client, 'prefix_cache_tokens_total{kind="hit"') == 4 + 8


def test_health_answers_while_the_first_model_is_loaded(
    artifacts: Artifacts, control: Control
) -> None:
    control.may_open.clear()
    with starting([source(artifacts("weather"), "first")]) as client:
        assert client.get("/livez").status_code == 200
        for path in ("/startupz", "/readyz"):
            assert client.get(path).json() == {"status": "loading"}
            assert client.get(path).status_code == 503
        early = ask(client)
        assert code(early) == (503, "model_loading")
        assert int(early.headers["retry-after"]) >= 1
        assert states(client) == {"first": "loading"}
        assert client.get("/").status_code == 200
        control.may_open.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/startupz").status_code == 200
        assert ask(client).status_code == 200


@pytest.mark.fault
def test_a_hung_engine_is_started_again(artifacts: Artifacts, control: Control) -> None:
    with (
        running([source(artifacts("weather"), "only")], hang_seconds=0.5) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        control.may_step.clear()
        stuck = pool.submit(ask, client)
        wait_until(lambda: control.inside == 1)
        stream = pool.submit(ask, client, stream=True)
        # Nobody waits for the end of their time.
        assert code(stuck.result()) == (503, "engine_restarted")
        assert int(stuck.result().headers["retry-after"]) >= 1
        assert code(stream.result()) == (503, "engine_restarted")
        assert metric(client, 'engine_restarts_total{model="only",reason="hung"}') == 1
        wait_until(lambda: states(client)["only"] == "ready")
        # The old thread still hangs, and that is said.
        assert metric(client, "engine_stuck_threads") == 1
        control.may_step.set()
        assert ask(client).status_code == 200
        wait_until(lambda: metric(client, "engine_stuck_threads") == 0)
        assert client.get("/readyz").status_code == 200
        assert len(control.opened) == 2


@pytest.mark.fault
def test_an_engine_that_always_hangs_stays_failed(artifacts: Artifacts, control: Control) -> None:
    settings = {"hang_seconds": 0.4, "max_restarts": 1}
    with running([source(artifacts("weather"), "only")], **settings) as client:
        control.may_step.clear()
        for _ in range(2):
            assert code(ask(client)) in ((503, "engine_restarted"), (503, "model_failed"))
        wait_until(lambda: states(client)["only"] == "failed")
        assert card(client, "only")["problem"] == "hung"
        assert client.get("/readyz").json() == {"status": "engine failed"}
        # Only a new process can give the memory back.
        assert client.get("/livez").status_code == 503
        assert client.get("/startupz").status_code == 200
        assert code(ask(client)) == (503, "model_failed")


@pytest.mark.fault
def test_an_engine_that_dies_is_started_again(
    artifacts: Artifacts, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    with running([source(artifacts("weather"), "only")], hang_seconds=2) as client:
        control.broken = True
        control.may_open.clear()
        for _ in range(3):
            assert ask(client).status_code == 500
        # Broken until it was given up, and well again before the new one answers its probes.
        wait_until(lambda: metric(client, 'engine_restarts_total{model="only",reason="bro') == 1)
        control.broken = False
        control.may_open.set()
        wait_until(lambda: states(client)["only"] == "ready")
        assert ask(client).status_code == 200
        assert client.get("/readyz").status_code == 200


@pytest.mark.fault
def test_a_thread_that_ends_is_replaced(artifacts: Artifacts, control: Control) -> None:
    with running([source(artifacts("weather"), "only")], hang_seconds=1) as client:
        control.dies = True
        assert code(ask(client)) == (503, "engine_restarted")
        assert ask(client).status_code == 200
        assert metric(client, 'engine_restarts_total{model="only",reason="died"') == 1
        assert client.get("/readyz").status_code == 200


@pytest.mark.fault
def test_exactly_slots_and_queue_are_answered(artifacts: Artifacts, control: Control) -> None:
    settings = {"max_concurrency": 4, "max_queue": 12}
    with (
        running([source(artifacts("weather"), "only")], **settings) as client,
        ThreadPoolExecutor(48) as pool,
    ):
        control.may_step.clear()
        waiting = [pool.submit(ask, client) for _ in range(48)]
        wait_until(lambda: metric(client, "rejected_total") == 32)
        control.may_step.set()
        replies = [one.result() for one in waiting]
        assert sorted(reply.status_code for reply in replies) == [200] * 16 + [503] * 32
        assert all("retry-after" in one.headers for one in replies if one.status_code == 503)


def test_requests_that_fail_by_themselves_restart_nothing(
    artifacts: Artifacts, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    with running([source(artifacts("weather"), "only")], hang_seconds=0.4) as client:
        control.broken = True
        assert [ask(client).status_code for _ in range(2)] == [500, 500]
        control.broken = False
        assert ask(client).status_code == 200
        time.sleep(0.3)
        assert metric(client, "engine_restarts_total") == 0


@pytest.mark.fault
def test_a_stop_while_loading_is_quick(artifacts: Artifacts, control: Control) -> None:
    control.may_open.clear()
    done: Future[None] = Future()

    def serve() -> None:
        with starting([source(artifacts("weather"), "first")]) as client:
            assert client.get("/livez").status_code == 200
        done.set_result(None)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    done.result(timeout=5)
    control.may_open.set()
    # What was being loaded is not stopped, and two loads at once are one too many for torch.
    wait_until(lambda: len(control.loaded) == 1)


def test_the_other_probes_are_run_in_idle_moments(artifacts: Artifacts, control: Control) -> None:
    with running([source(artifacts("weather"), "only")], num_probes=1) as client:
        wait_until(lambda: card(client, "only")["probes"]["count"] == 4)
        probes = card(client, "only")["probes"]
        assert (probes["status"], probes["recorded"]) == ("passed", 4)
        assert metric(client, "model_probes_run") == 4


def test_a_later_probe_that_differs_is_said(
    artifacts: Artifacts, tmp_path: Path, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    found = with_a_wrong_probe(artifacts("weather"), tmp_path)
    with running([source(found, "only")], num_probes=1) as client:
        wait_until(lambda: card(client, "only")["probes"]["status"] == "failed")
        # The first probes were right: an answer a little off is better than none, if it is told.
        assert client.get("/readyz").status_code == 200
        assert ask(client).status_code == 200
        assert metric(client, "model_probes_failed") == 1
    assert "the model differs" in caplog.text
    settings = {"num_probes": 1, "strict_probes": True, "hang_seconds": 0.4}
    with running([source(found, "only")], **settings) as client:
        wait_until(lambda: states(client)["only"] == "failed")
        assert card(client, "only")["problem"] == "other_answers"
        assert client.get("/readyz").status_code == 503
    with pytest.raises(CheckError, match="SERVE-003"), running([source(found, "x")], num_probes=4):
        raise AssertionError("it was served")


def with_a_wrong_probe(artifact: Artifact, folder: Path) -> Artifact:
    """Return a copy of a model whose last probe was recorded otherwise."""
    from safetensors.numpy import load_file, save_file

    found = copy_of(artifact, folder)
    copy = found.path
    tensors = load_file(copy / "probes.safetensors")
    last = max(name.split(".")[0] for name in tensors)
    for name in [n for n in tensors if n.startswith(f"{last}.") and "log" in n]:
        tensors[name] = tensors[name] - 1
    save_file(tensors, copy / "probes.safetensors")
    return found


def copy_of(artifact: Artifact, folder: Path) -> Artifact:
    copy = folder / "copy"
    # Without the manifest, which would tell that it was changed.
    shutil.copytree(artifact.path, copy, ignore=shutil.ignore_patterns("manifest.json"))
    return Artifact(artifact.id, artifact.kind, copy, artifact.metadata)


@pytest.mark.fault
def test_files_that_are_gone_are_said(
    artifacts: Artifacts, tmp_path: Path, control: Control
) -> None:
    found = copy_of(artifacts("weather"), tmp_path)
    with running([source(found, "only")], keep_alive_seconds=0.1) as client:
        wait_until(lambda: states(client)["only"] == "unloaded")
        (found.path / "model.safetensors").unlink()
        assert code(ask(client)) == (503, "model_failed")
        assert card(client, "only")["problem"] == "INFER-001"
        # It answered before: whoever sends requests here is better off elsewhere.
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200


@pytest.mark.fault
def test_a_damaged_second_model_leaves_the_first_alone(
    artifacts: Artifacts, tmp_path: Path, control: Control
) -> None:
    broken = copy_of(artifacts("poems"), tmp_path)
    (broken.path / "model.safetensors").write_bytes(b"\0" * 100)
    sources = [source(artifacts("weather"), "good"), source(broken, "bad")]
    with running(sources) as client:
        for _ in range(2):
            assert code(ask(client, "bad")) == (503, "model_failed")
        assert states(client) == {"good": "ready", "bad": "failed"}
        assert ask(client).status_code == 200
        assert client.get("/readyz").status_code == 200
