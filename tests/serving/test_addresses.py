"""An address is a model among others: asked, scored, talked with and served on, over real HTTP."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmwright.core import pipeline
from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ConfigError, InputError, LLMwrightError
from llmwright.core.project import Project
from llmwright.inference.chat import Conversation
from llmwright.inference.predictor import Predictor
from llmwright.inference.remote.elsewhere import ANYWHERE
from llmwright.inference.remote.endpoint import EndpointEngine
from llmwright.inference.remote.writer import RemoteWriter
from llmwright.inference.writing.sampling import Settings
from llmwright.serving.served.model import ServedModel

Models = Callable[[str], ServedModel]


Opened = Callable[..., Predictor]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Return a predictor over the address of a client's server."""
    made: list[Predictor] = []

    def predictor(client: httpx.Client, path: str = "") -> Predictor:
        address = f"{str(client.base_url).rstrip('/')}{path}"
        found = pipeline.find_artifact(
            Project(tmp_path), "model|export", address, elsewhere=ANYWHERE
        )
        assert found is not None
        made.append(Predictor.open(found.path))
        return made[-1]

    yield predictor
    for one in made:
        one.close()


def test_texts_are_those_of_the_model_there(
    poems: httpx.Client, models: Models, opened: Opened
) -> None:
    there, here = models("poems").predictor, opened(poems)
    assert isinstance(here.engine, EndpointEngine)
    asked = ["in the ", "ra", "sun"]
    for options in ({}, {"temperature": 1.0, "seed": 4, "top_k": 5, "min_p": 0.01}):
        rows = [[p.read(text) for text in asked] for p in (there, here)]
        expected = [next(there.predict([row], max_new_tokens=9, **options)) for row in rows[0]]
        alone = [next(here.predict([row], max_new_tokens=9, **options)) for row in rows[1]]
        assert [a["text"] for a in alone] == [e["text"] for e in expected]
        streamed = ["".join(here.stream(row, max_new_tokens=9, **options)) for row in rows[1]]
        assert streamed == [e["text"] for e in expected]
    together = list(here.predict(rows[1], max_new_tokens=9))
    assert [a["text"] for a in together] == [
        next(there.predict([row], max_new_tokens=9))["text"] for row in rows[0]
    ]
    assert here.choice.startswith("Engine: endpoint")


def test_probabilities_and_counts_are_told(
    poems: httpx.Client, models: Models, opened: Opened
) -> None:
    there, here = models("poems").predictor, opened(poems)
    found = [
        list(p.write(p.encode(p.read("ra")), num_scores=2, max_new_tokens=5)) for p in (there, here)
    ]
    scores = [[s for d in deltas for s in d.scores or ()] for deltas in found]
    assert [s.text for s in scores[1]] == [s.text for s in scores[0]]
    for one, other in zip(*scores, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-6)
        assert [t for t, _ in one.top] == [t for t, _ in other.top]
    counts = [(d[-1].num_input_tokens, d[-1].num_output_tokens) for d in found]
    assert counts[0] == counts[1]


def test_stop_strings_and_schemas_hold(poems: httpx.Client, models: Models, opened: Opened) -> None:
    there, here = models("poems").predictor, opened(poems)
    whole = next(there.predict([there.read("ra")], max_new_tokens=9))["text"]
    stop = whole[3:5]
    cut = next(here.predict([here.read("ra")], max_new_tokens=9, stop=(stop,)))
    assert cut["text"] == whole[: whole.index(stop)]
    assert cut["finish_reason"] == "stop"


def test_a_conversation_goes_on_there(talk: httpx.Client, models: Models, opened: Opened) -> None:
    there, here = Conversation(models("talk").predictor), Conversation(opened(talk))
    for said in ("good", "and?"):
        # What does not fit is forgotten, and how much fits is known where the model is.
        here.reset()
        there.reset()
        assert "".join(here.say(said)) == "".join(there.say(said))
        assert here.messages == there.messages


def test_labels_and_scores_are_those_of_the_model_there(
    intents: httpx.Client, models: Models, opened: Opened
) -> None:
    there, here = models("intents").predictor, opened(intents)
    field = there.text_name
    rows = ["my card is lost", "rates today"]
    expected = list(there.predict([there.read({field: text}) for text in rows]))
    found = list(here.predict([here.read({field: text}) for text in rows]))
    for one, other in zip(found, expected, strict=True):
        assert one["label"] == other["label"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_translations_come_from_there(
    weather: httpx.Client, models: Models, opened: Opened
) -> None:
    there, here = models("weather").predictor, opened(weather)
    row = {there.text_name: "sunny"}
    assert next(here.predict([here.read(row)])) == next(there.predict([there.read(row)]))


def test_what_an_address_cannot_do_is_refused_by_name(
    names: httpx.Client, poems: httpx.Client, opened: Opened
) -> None:
    with pytest.raises(InputError, match="INFER-054"):
        opened(names)
    here = opened(poems)
    with pytest.raises(ConfigError, match=r"INFER-052.*logit_bias") as refused:
        here.settings(logit_bias={3: 1.0})
    assert refused.value.where == "logit_bias"
    with pytest.raises(InputError, match="INFER-053"):
        list(here.score([{"text": "rain"}]))
    with pytest.raises(InputError, match="INFER-013"):
        opened(poems, "#other")


def test_a_server_that_is_gone_costs_only_its_texts(server: Any, opened: Opened) -> None:
    with server("poems") as client:
        here = opened(client)
    with pytest.raises(LLMwrightError, match="INFER-007"):
        list(here.predict([here.read("a")]))


def test_a_text_that_is_dropped_is_no_longer_written_there(server: Any, opened: Opened) -> None:
    with server("poems", max_new_tokens=5000) as client:
        here = opened(client)
        writer = here.engine.writer()
        assert isinstance(writer, RemoteWriter)
        prompts = [here.encode(here.read(text)).input_ids_T for text in ("ra", "su")]
        writer.add([0, 1], prompts, [Settings(60, min_new_tokens=60), Settings(5)], [0, 1])
        writer.drop(0)
        kept = []
        while not writer.is_idle():
            for token in writer.step():
                assert token.row == 1
                kept.append(token)
        assert kept[-1].finish_reason is not None
        until = time.monotonic() + 10
        while "llmwright_disconnects_total 1" not in client.get("/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_an_address_is_served_on(
    server: Any, talk: httpx.Client, opened: Opened, artifacts: Callable[[str], Artifact]
) -> None:
    gateway = ServedModel(opened(talk), "gateway")
    body = {"messages": [{"role": "user", "content": "sun"}], "max_tokens": 6, "logprobs": True}
    with server("talk", model=gateway) as client:
        there = talk.post("/v1/chat/completions", json=body).json()
        here = client.post("/v1/chat/completions", json=body).json()
        assert "choices" in here, here
        assert here["choices"] == there["choices"]
        assert here["usage"] == there["usage"]
        refused = client.post("/v1/chat/completions", json={**body, "logit_bias": {"3": 1}})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "logit_bias"
        replies: list[str] = []

        def ask() -> None:
            reply = client.post("/v1/chat/completions", json=body).json()
            replies.append(reply["choices"][0]["message"]["content"])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(replies) == {there["choices"][0]["message"]["content"]}
    assert len(list(itertools.chain(replies))) == 4
