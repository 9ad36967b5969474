"""The model's thread: places, turns, disconnects, deadlines, a model that is stuck."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from llmwright.core.errors import ResourceError
from llmwright.data.records import Row
from llmwright.inference.writing.generation import Token, Writer
from llmwright.serving.served.model import ServedModel

Models = Callable[[str], ServedModel]
Server = Callable[..., Any]


class HeldModel(ServedModel):
    """Writes with the real engine, but takes a step only once it is released."""

    def __init__(self, model: ServedModel) -> None:
        super().__init__(model.predictor, model.name)
        self.release = threading.Event()
        self.steps = 0
        self.closed = 0

    def writer(self) -> Writer:
        return HeldWriter(self)


class HeldWriter(Writer):
    """A writer that waits before each step, and counts steps and texts that end."""

    def __init__(self, model: HeldModel) -> None:
        super().__init__(model.predictor.engine)
        self._model = model
        self._open: set[int] = set()

    def add(self, rows, prompts, settings, places) -> None:
        # Nothing but the count ends a text.
        free = [replace(one, stop_token_ids=frozenset()) for one in settings]
        super().add(rows, prompts, free, places)
        self._open |= set(rows)

    def drop(self, row: int) -> None:
        super().drop(row)
        self._end(row)

    def step(self) -> Iterator[Token]:
        if self._open:
            self._model.release.wait(20)
            time.sleep(0.01)
            self._model.steps += 1
        for token in super().step():
            yield token
            if token.finish_reason is not None:
                self._end(token.row)

    def _end(self, row: int) -> None:
        if row in self._open:
            self._open.remove(row)
            self._model.closed += 1


class HeldClassifier(ServedModel):
    """Answers as the real model does, once it is released."""

    def __init__(self, model: ServedModel) -> None:
        super().__init__(model.predictor, model.name)
        self.release = threading.Event()
        self.sizes: list[int] = []

    def answer(self, rows: Sequence[Row], batch_size: int) -> Any:
        self.release.wait(20)
        self.sizes.append(len(rows))
        return super().answer(rows, batch_size)


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith(name)]
    return sum(float(line.split()[-1]) for line in found)


def test_exactly_slots_and_queue_are_answered(server: Server, models: Models) -> None:
    model = HeldModel(models("weather"))
    with server("weather", model=model, max_concurrency=2, max_queue=3) as client:

        def ask(_: int) -> httpx.Response:
            with httpx.Client(base_url=client.base_url, timeout=30, trust_env=False) as own:
                return own.post("/v1/completions", json={"prompt": "x", "max_tokens": 2})

        with ThreadPoolExecutor(12) as pool:
            waiting = [pool.submit(ask, index) for index in range(12)]
            wait_until(lambda: metric(client, "llmwright_rejected_total") == 7)
            model.release.set()
            replies = [one.result() for one in waiting]
        codes = [reply.status_code for reply in replies]
        assert sorted(codes) == [200] * 5 + [503] * 7
        refused = next(reply for reply in replies if reply.status_code == 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "overloaded_error"
        assert ask(0).status_code == 200


def test_a_list_of_prompts_takes_one_place(server: Server, models: Models) -> None:
    model = HeldModel(models("weather"))
    settings = {"max_concurrency": 2, "max_queue": 1}
    with server("weather", model=model, **settings) as client, ThreadPoolExecutor(3) as pool:

        def ask(count: int) -> httpx.Response:
            with httpx.Client(base_url=client.base_url, timeout=30, trust_env=False) as own:
                body = {"prompt": ["x"] * count, "max_tokens": 1}
                return own.post("/v1/completions", json=body)

        waiting = []
        for count, depth in ((20, 18), (20, 38), (20, 58)):
            waiting.append(pool.submit(ask, count))
            wait_until(lambda: metric(client, "llmwright_queue_depth") == depth)  # noqa: B023
        refused = client.post("/v1/completions", json={"prompt": "x"})
        assert refused.status_code == 503
        assert "3 requests" in refused.json()["error"]["message"]
        model.release.set()
        assert [len(one.result().json()["choices"]) for one in waiting] == [20, 20, 20]


def test_rows_that_wait_together_share_a_batch(server: Server, models: Models) -> None:
    model = HeldClassifier(models("intents"))
    with server("intents", model=model, max_batch=8) as client:

        def ask(_: int) -> int:
            with httpx.Client(base_url=client.base_url, timeout=30, trust_env=False) as own:
                return own.post("/v1/classify", json={"input": "card"}).status_code

        with ThreadPoolExecutor(13) as pool:
            # The first goes alone; twelve gather behind it.
            waiting = [pool.submit(ask, 0)]
            wait_until(lambda: metric(client, "llmwright_queue_wait_seconds_count") == 1)
            waiting += [pool.submit(ask, index) for index in range(12)]
            wait_until(lambda: metric(client, "llmwright_queue_depth") == 12)
            model.release.set()
            assert [one.result() for one in waiting] == [200] * 13
    assert model.sizes == [1, 8, 4]


def test_texts_are_written_in_turn(server: Server, models: Models) -> None:
    model = HeldModel(models("weather"))
    with server("weather", model=model, max_concurrency=2) as client, ThreadPoolExecutor(2) as pool:

        def ask(count: int) -> float:
            with httpx.Client(base_url=client.base_url, timeout=30, trust_env=False) as own:
                own.post("/v1/completions", json={"prompt": "x", "max_tokens": count})
            return time.monotonic()

        model.release.set()
        long = pool.submit(ask, 300)
        wait_until(lambda: model.steps > 3)
        short = pool.submit(ask, 5)
        assert short.result() < long.result()


class OneTextWriter(HeldWriter):
    """Refuses a second text as an engine does that is full, or says before that it is."""

    says_so = False

    def has_room(self, prompts, settings) -> bool:
        return not (self.says_so and self._open)

    def add(self, rows, prompts, settings, places) -> None:
        if self._open or len(rows) > 1:
            raise ResourceError("INFER-042", slots=1)
        super().add(rows, prompts, settings, places)


@pytest.mark.parametrize("says_so", [False, True])
def test_one_that_has_no_room_harms_no_other(
    says_so: bool, server: Server, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = HeldModel(models("weather"))
    monkeypatch.setattr(OneTextWriter, "says_so", says_so)
    monkeypatch.setattr(HeldModel, "writer", lambda self: OneTextWriter(self))
    body = {"prompt": "x", "max_tokens": 5}
    with server("weather", model=model, max_concurrency=4) as client, ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.post, "/v1/completions", json=body)
        wait_until(lambda: bool(client.app.state.service.default.worker.num_held()))
        time.sleep(0.1)
        second = pool.submit(client.post, "/v1/completions", json=body)
        time.sleep(0.1)
        model.release.set()
        assert first.result().status_code == 200
        # One that is told beforehand waits; one that the engine refuses is told so, alone.
        assert second.result().status_code == (200 if says_so else 503)


def test_a_client_that_leaves_frees_its_place(server: Server, models: Models) -> None:
    model = HeldModel(models("weather"))
    model.release.set()
    with server("weather", model=model, max_concurrency=1, max_queue=0) as client:
        body = {"prompt": "x", "stream": True, "max_tokens": 4000}
        with client.stream("POST", "/v1/completions", json=body) as reply:
            first = list(itertools.islice(reply.iter_lines(), 4))
            assert first[0].startswith("data: ")
        wait_until(lambda: model.closed == 1, seconds=1)
        steps = model.steps
        done = client.post("/v1/completions", json={"prompt": "x", "max_tokens": 3})
        assert done.status_code == 200
        assert model.steps == steps + 3
        assert metric(client, "llmwright_disconnects_total") == 1


def test_leaving_before_the_answer_frees_the_place_too(server: Server, models: Models) -> None:
    model = HeldModel(models("weather"))
    model.release.set()
    with server("weather", model=model, max_concurrency=1, max_queue=0) as client:
        with (
            httpx.Client(base_url=client.base_url, timeout=0.3, trust_env=False) as hasty,
            pytest.raises(httpx.ReadTimeout),
        ):
            hasty.post("/v1/completions", json={"prompt": "x", "max_tokens": 4000})
        wait_until(lambda: model.closed == 1, seconds=1)
        wait_until(lambda: metric(client, 'llmwright_requests_total{code="499"') == 1)


def test_a_request_has_a_deadline(server: Server, models: Models) -> None:
    model = HeldModel(models("weather"))
    model.release.set()
    with server("weather", model=model, request_timeout_seconds=0.3) as client:
        body = {"prompt": "x", "max_tokens": 4000}
        reply = client.post("/v1/completions", json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "timeout")
        wait_until(lambda: model.closed == 1, seconds=1)
        # A stream that has begun can only end with the error as its last event.
        streamed = client.post("/v1/completions", json={**body, "stream": True})
        assert '"code":"timeout"' in streamed.text.strip().split("\n\n")[-1]
        assert "[DONE]" not in streamed.text


def test_a_stuck_model_is_not_ready(server: Server, models: Models) -> None:
    model = HeldModel(models("weather"))
    settings = {"request_timeout_seconds": 0.2, "hang_seconds": 0.4, "max_restarts": 0}
    with server("weather", model=model, **settings) as client:
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/completions", json={"prompt": "x"}).status_code == 504
        wait_until(lambda: client.get("/readyz").status_code == 503)
        model.release.set()


def test_a_defect_is_a_500_without_detail(
    server: Server, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ServedModel):
        def answer(self, rows: Sequence[Row], batch_size: int) -> Any:
            raise RuntimeError("secret detail")

    model = Broken(models("intents").predictor, "intents")
    with server("intents", model=model) as client:
        reply = client.post("/v1/classify", json={"input": "x"})
        assert reply.status_code == 500
        assert reply.json()["error"]["type"] == "server_error"
        assert "secret" not in reply.text
        assert client.get("/readyz").status_code == 200
    assert "secret detail" in caplog.text
