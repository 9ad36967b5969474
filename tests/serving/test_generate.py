"""``/generate``: the user's own field names, JSON and forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from llmwright.inference.predictor import Predictor
from llmwright.serving.served.model import ServedModel

Server = Callable[..., Any]
JSON = "application/json"


def test_form_is_answered_under_the_users_names(weather: httpx.Client) -> None:
    # What curl -F sends: multipart with a plain field.
    reply = weather.post("/generate", files={"description": (None, "今天天气很好")})
    assert reply.status_code == 200
    assert reply.json() == {"weather": "今天天气晴朗"}


def test_json_and_urlencoded_forms_give_the_same(weather: httpx.Client) -> None:
    body = {"description": "外面很冷"}
    assert weather.post("/generate", json=body).json() == {"weather": "气温很低"}
    assert weather.post("/generate", data=body).json() == {"weather": "气温很低"}


def test_our_own_names_are_read_beside_the_users(
    weather: httpx.Client, intents: httpx.Client, names: httpx.Client
) -> None:
    for client, ours, users, value in (
        (weather, "input", "description", "外面很冷"),
        (intents, "text", "question", "where is my card"),
        (names, "tokens", "words", ["Bo", "saw", "London"]),
    ):
        own = client.post("/generate", json={users: value})
        assert client.post("/generate", json={ours: value}).json() == own.json()
        both = client.post("/generate", json={ours: value, users: value})
        assert (both.status_code, both.json()["error"]["code"]) == (400, "two_fields")
        assert all(name in both.json()["error"]["message"] for name in (ours, users))


def test_options_come_as_text_in_forms(weather: httpx.Client) -> None:
    body = {"description": "外面很冷", "max_tokens": "2", "temperature": "0"}
    reply = weather.post("/generate", data=body)
    assert reply.json() == {"weather": "气温", "finish_reason": "length"}


def test_cut_input_is_said(weather: httpx.Client) -> None:
    reply = weather.post("/generate", json={"description": "今天天气很好" * 50})
    assert reply.status_code == 200
    assert reply.json()["truncated"] is True


def test_classifier_answers_with_the_users_names(intents: httpx.Client) -> None:
    reply = intents.post("/generate", data={"question": "where is my card"}).json()
    assert reply["intent"] == "card_arrival"
    assert set(reply["scores"]) == {"card_arrival", "exchange_rate", "lost_card"}
    assert sum(reply["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_tagger_takes_words_or_text(names: httpx.Client) -> None:
    words = names.post("/generate", json={"words": ["Bo", "saw", "London"]}).json()
    assert words["entities"] == ["B-PER", "O", "B-LOC"]
    assert names.post("/generate", data={"text": "Bo saw London"}).json() == words


def test_generator_reads_prompt_and_writes_text(poems: httpx.Client) -> None:
    reply = poems.post("/generate", json={"prompt": "白日"}).json()
    assert reply["text"].startswith("依山尽")


def test_chat_model_takes_prompt_or_messages(talk: httpx.Client) -> None:
    assert talk.post("/generate", data={"prompt": "hello"}).json() == {"text": "hi there"}
    messages = [{"role": "user", "content": "bye"}]
    assert talk.post("/generate", json={"messages": messages}).json() == {"text": "see you"}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_field", "description"),
        ({"descriptoin": "x"}, "unknown_field", "descriptoin"),
        ({"description": "x", "n": 2}, "unknown_field", "n"),
        ({"description": 3}, "not_text", "description"),
        ({"description": ["x"]}, "not_text", "description"),
        ({"description": "x", "max_tokens": 0}, "invalid_parameter", "max_tokens"),
        ({"description": "x", "max_tokens": 10**9}, "too_many_tokens", "max_tokens"),
        ({"description": "x", "temperature": "hot"}, "invalid_parameter", "temperature"),
        ({"description": "x", "seed": 2**70}, "invalid_parameter", "seed"),
        ({"description": "x", "stop": [""]}, "invalid_parameter", "stop"),
    ],
)
def test_wrong_fields_are_named(
    weather: httpx.Client, body: dict[str, object], code: str, param: str
) -> None:
    reply = weather.post("/generate", json=body)
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert error["param"].startswith(param)


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"{", "application/json", "invalid_json"),
        (b"[" * 100_000, "application/json", "invalid_json"),
        (b'"text"', "application/json", "not_an_object"),
        (b"\xff\xfe", "application/json", "invalid_json"),
        ('{"description": "外面很冷"}'.encode("gbk"), "application/json", "not_utf8"),
        ("description=外面很冷".encode("gbk"), "application/x-www-form-urlencoded", "not_utf8"),
        (b"description=%CD%E2", "application/x-www-form-urlencoded", "not_utf8"),
        (b"a&" * 1001, "application/x-www-form-urlencoded", "unreadable_form"),
        (b'{"description": "\\ud800"}', "application/json", "not_unicode"),
        (b'{"description": "x"}', "application/x-www-form-urlencoded", "json_as_form"),
        (b"description=x", "text/plain", "content_type"),
        (b"x", "multipart/form-data; boundary=b", "unreadable_form"),
        (b"x", "multipart/form-data", "unreadable_form"),
    ],
)
def test_bodies_that_cannot_be_read_are_400(
    weather: httpx.Client, content: bytes, kind: str, code: str
) -> None:
    reply = weather.post("/generate", content=content, headers={"content-type": kind})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == code


def test_a_form_of_another_encoding_is_no_mojibake(weather: httpx.Client) -> None:
    reply = weather.post("/generate", files={"description": (None, "外面很冷".encode("gbk"))})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "not_utf8")
    assert "UTF-8" in reply.json()["error"]["message"]
    body = '{"prompt": "外面很冷"}'.encode("gbk")
    typed = weather.post("/v1/completions", content=body, headers={"content-type": JSON})
    assert (typed.status_code, typed.json()["error"]["code"]) == (400, "not_utf8")


def test_plain_utf8_in_a_form_is_read(weather: httpx.Client) -> None:
    # As curl -d sends it.
    body, kind = "description=外面很冷".encode(), "application/x-www-form-urlencoded"
    reply = weather.post("/generate", content=body, headers={"content-type": kind})
    assert reply.json() == {"weather": "气温很低"}


def test_files_are_refused(weather: httpx.Client) -> None:
    reply = weather.post("/generate", files={"description": ("a.txt", b"text")})
    assert reply.status_code == 400
    assert "files are not taken" in reply.json()["error"]["message"]


def test_a_chat_model_takes_one_of_both(talk: httpx.Client) -> None:
    body = {"prompt": "hello", "messages": [{"role": "user", "content": "bye"}]}
    reply = talk.post("/generate", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "two_fields")


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([{"role": "assistant", "content": "hi"}], "TASK-013"),
        ([{"role": "nobody", "content": "hi"}], "TASK-012"),
    ],
)
def test_conversations_that_cannot_be_answered_are_400(
    talk: httpx.Client, turns: list[dict[str, str]], code: str
) -> None:
    reply = talk.post("/generate", json={"messages": turns})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)


def test_the_servers_limit_binds_the_models_own_default(server: Server) -> None:
    with server("poems", max_new_tokens=3) as client:
        reply = client.post("/generate", json={"prompt": "白"}).json()
        assert len(reply["text"]) == 3
        assert reply["finish_reason"] == "length"
        choice = client.post("/v1/completions", json={"prompt": "白"}).json()["choices"][0]
        assert choice["text"] == reply["text"]


def test_words_of_a_column_called_text(models: Callable[[str], ServedModel]) -> None:
    names = models("names")
    contract = names.contract.model_copy(update={"fields": {"tokens": "text", "tags": "tags"}})
    loaded = names.predictor
    model = ServedModel(Predictor(contract, loaded.tokenizer, loaded.engine), "names")
    row, _ = model.read({"text": ["Bo", "saw", "London"]})
    assert row == model.read({"text": "Bo saw London"})[0] == {"tokens": ["Bo", "saw", "London"]}
    assert model.fields.describe() == "text"


def test_hostile_texts_are_answered(weather: httpx.Client) -> None:
    for text in ("\x00", "\u202e", "👩‍👩‍👧", "a" * 20_000):
        assert weather.post("/generate", json={"description": text}).status_code == 200, repr(text)


def test_reply_is_utf8_json(weather: httpx.Client) -> None:
    reply = weather.post("/generate", json={"description": "风非常大"})
    assert reply.headers["content-type"] == "application/json"
    assert json.loads(reply.content.decode("utf-8")) == {"weather": "今天有大风"}
    assert "今天有大风".encode() in reply.content
