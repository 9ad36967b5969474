"""``/v1/classify`` and what requests that wait together share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from llmwright.inference.predictor import Predictor
from llmwright.serving.served.model import ServedModel

Server = Callable[..., Any]

TEXTS = [
    "where is my card",
    "what is the exchange rate",
    "my card was stolen",
    "how many euros do i get for a hundred pounds",
    "card",
    "i cannot find my card",
]


def test_each_text_gets_label_and_ordered_scores(intents: httpx.Client) -> None:
    reply = intents.post("/v1/classify", json={"model": "intents", "input": TEXTS}).json()
    assert [entry["index"] for entry in reply["data"]] == list(range(len(TEXTS)))
    first = reply["data"][0]
    assert first["label"] == "card_arrival"
    scores = list(first["scores"].values())
    assert scores == sorted(scores, reverse=True)
    assert next(iter(first["scores"])) == "card_arrival"
    assert reply["usage"]["prompt_tokens"] == sum(len(text) + 2 for text in TEXTS)
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"]


def test_top_k_keeps_the_highest(intents: httpx.Client) -> None:
    reply = intents.post("/v1/classify", json={"input": TEXTS[0], "top_k": 1}).json()
    assert list(reply["data"][0]["scores"]) == ["card_arrival"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": []}, "invalid_parameter", "input"),
        ({"input": "x", "top_k": 0}, "invalid_parameter", "top_k"),
        ({"input": "x", "stream": True}, "unsupported_parameter", "stream"),
        ({"input": "x", "input_pair": "y"}, "no_pairs", "input_pair"),
        ({"input": ["x"] * 257}, "too_many", "input"),
    ],
)
def test_wrong_requests_are_named(
    intents: httpx.Client, body: dict[str, Any], code: str, param: str
) -> None:
    reply = intents.post("/v1/classify", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, code)
    assert error["param"].startswith(param)


def test_blank_texts_get_no_label(intents: httpx.Client) -> None:
    for blank in ("", " \n", ["where is my card", ""]):
        reply = intents.post("/v1/classify", json={"input": blank})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "TASK-003")
    assert intents.post("/generate", files={"question": (None, "")}).status_code == 400


def test_a_model_of_pairs_asks_for_the_second_text(
    models: Callable[[str], ServedModel], server: Server
) -> None:
    base = models("intents").predictor
    fields = {"text": "sentence1", "text_pair": "sentence2"}
    contract = base.contract.model_copy(update={"fields": fields})
    pairs = ServedModel(Predictor(contract, base.tokenizer, base.engine), "pairs")
    with server("intents", model=pairs) as client:
        error = client.post("/v1/classify", json={"input": "今天吃啥"}).json()["error"]
        assert (error["code"], error["param"]) == ("missing_parameter", "input_pair")
        assert "input_pair" in error["message"]
        both = {"input": "my card", "input_pair": "where is my card"}
        assert client.post("/v1/classify", json=both).status_code == 200


def test_answers_in_shared_batches_equal_single_ones(intents: httpx.Client) -> None:
    single = [intents.post("/v1/classify", json={"input": text}).json()["data"] for text in TEXTS]
    gate = threading.Barrier(16)

    def ask(index: int) -> Any:
        with httpx.Client(base_url=intents.base_url, timeout=30, trust_env=False) as client:
            gate.wait()
            return client.post("/v1/classify", json={"input": TEXTS[index % len(TEXTS)]}).json()

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, range(16)))
    for index, reply in enumerate(together):
        expected = single[index % len(TEXTS)][0]
        assert reply["data"][0]["label"] == expected["label"]
        assert reply["data"][0]["scores"] == pytest.approx(expected["scores"], abs=1e-5)


def test_a_bad_row_harms_no_other_request(intents: httpx.Client) -> None:
    def ask(text: str) -> int:
        with httpx.Client(base_url=intents.base_url, timeout=30, trust_env=False) as client:
            return client.post("/v1/classify", json={"input": text}).status_code

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, ["where is my card", "\x00", "?", "x" * 50_000] * 4))
    assert set(found) == {200}
