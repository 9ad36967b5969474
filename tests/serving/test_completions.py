"""OpenAI's text routes: whole answers, streams, usage, what is not supported."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from llmwright.serving.served.model import ServedModel

USER = {"role": "user", "content": "hello"}


def events(text: str) -> list[dict[str, Any]]:
    blocks = text.strip().split("\n\n")
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


def test_completion_has_the_shape_clients_expect(weather: httpx.Client) -> None:
    reply = weather.post("/v1/completions", json={"model": "weather", "prompt": "今天天气很好"})
    body = reply.json()
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["model"] == "weather"
    assert body["created"] > 1_700_000_000
    choice = {"index": 0, "text": "今天天气晴朗", "logprobs": None, "finish_reason": "stop"}
    assert body["choices"] == [choice]
    # Six characters and the end token were read; six were written, the stop token not counted.
    assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}


def test_stream_adds_up_to_the_whole_answer(weather: httpx.Client) -> None:
    body = {"prompt": "今天下了大雨"}
    whole = weather.post("/v1/completions", json=body).json()
    reply = weather.post("/v1/completions", json={**body, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    chunks = events(reply.text)
    assert len(chunks) > 1
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert [c["choices"][0]["finish_reason"] for c in chunks][-1] == "stop"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)


def test_stream_ends_with_usage_when_asked(weather: httpx.Client) -> None:
    body = {"prompt": "今天天气很好", "stream": True, "stream_options": {"include_usage": True}}
    chunks = events(weather.post("/v1/completions", json=body).text)
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 13


def test_limit_and_stop_strings_end_the_text(poems: httpx.Client) -> None:
    def ask(**options: Any) -> dict[str, Any]:
        reply = poems.post("/v1/completions", json={"prompt": "白日", **options}).json()
        choice: dict[str, Any] = reply["choices"][0]
        return choice

    whole = ask()["text"]
    short = ask(max_tokens=3)
    assert (short["text"], short["finish_reason"]) == (whole[:3], "length")
    stopped = ask(stop=["黄河", "zz"])
    assert (stopped["text"], stopped["finish_reason"]) == (whole.split("黄河")[0], "stop")
    streamed = poems.post(
        "/v1/completions", json={"prompt": "白日", "stop": "黄河", "stream": True}
    )
    pieces = [chunk["choices"][0]["text"] for chunk in events(streamed.text)]
    assert "".join(pieces) == stopped["text"]


def test_log_probabilities_are_the_models(
    weather: httpx.Client, models: Callable[[str], ServedModel]
) -> None:
    body = {"prompt": "今天天气很好", "logprobs": 2}
    choice = weather.post("/v1/completions", json=body).json()["choices"][0]
    told = choice["logprobs"]
    predictor = models("weather").predictor
    row = {"input": "今天天气很好", "target": "今天天气晴朗"}
    (score,) = predictor.score([row])
    assert told["tokens"] == list("今天天气晴朗")
    # The stop token is no part of the text.
    assert told["token_logprobs"] == pytest.approx(score.log_probs_U[:-1].tolist(), abs=1e-4)
    assert told["text_offset"] == list(range(6))
    first = told["top_logprobs"][0]
    assert len(first) == 2
    assert first["今"] == max(first.values()) == told["token_logprobs"][0]


def test_log_probabilities_end_with_the_text(poems: httpx.Client) -> None:
    body = {"prompt": "白日", "logprobs": 0, "stop": "黄河"}
    reply = poems.post("/v1/completions", json=body).json()["choices"][0]
    assert "".join(reply["logprobs"]["tokens"]) == reply["text"] == "依山尽，"
    assert reply["logprobs"]["top_logprobs"] == [{}] * 4


def test_seed_repeats_a_sampled_text(poems: httpx.Client) -> None:
    def ask(seed: int) -> str:
        body = {"prompt": "白", "temperature": 3.0, "seed": seed, "max_tokens": 24}
        text: str = poems.post("/v1/completions", json=body).json()["choices"][0]["text"]
        return text

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in range(4)}) > 1


def test_several_prompts_get_several_texts(weather: httpx.Client) -> None:
    reply = weather.post("/v1/completions", json={"prompt": ["外面很冷", "今天天气很好"]}).json()
    assert [c["text"] for c in reply["choices"]] == ["气温很低", "今天天气晴朗"]
    assert [c["index"] for c in reply["choices"]] == [0, 1]
    assert reply["usage"]["completion_tokens"] == 10


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_parameter", "prompt"),
        ({"prompt": "x", "logprobs": 6}, "invalid_parameter", "logprobs"),
        ({"prompt": "x", "logprobs": 1, "stream": True}, "no_streamed_logprobs", "logprobs"),
        ({"prompt": "x", "suffix": "y"}, "unsupported_parameter", "suffix"),
        ({"prompt": "x", "n": 2}, "invalid_parameter", "n"),
        ({"prompt": "x", "echo": True}, "invalid_parameter", "echo"),
        ({"prompt": "x", "presence_penalty": 3}, "invalid_parameter", "presence_penalty"),
        ({"prompt": "x", "logit_bias": {"1": 101}}, "invalid_parameter", "logit_bias"),
        ({"prompt": "x", "logit_bias": {"9999999": 1}}, "unknown_token", "logit_bias"),
        ({"prompt": [1, 2]}, "invalid_parameter", "prompt"),
        ({"prompt": []}, "invalid_parameter", "prompt"),
        ({"prompt": "x", "max_tokens": 0}, "invalid_parameter", "max_tokens"),
        ({"prompt": "x", "max_tokens": -1}, "invalid_parameter", "max_tokens"),
        ({"prompt": "x", "max_tokens": 10**9}, "too_many_tokens", "max_tokens"),
        ({"prompt": "x", "stop": ["a"] * 1000}, "invalid_parameter", "stop"),
        ({"prompt": "x", "stream_options": {}}, "needs_stream", "stream_options"),
        ({"prompt": ["x", "y"], "stream": True}, "one_stream", "prompt"),
        ({"prompt": ["x"] * 300}, "too_many", "prompt"),
        ({"prompt": "今天" * 200}, "too_long", None),
        ({"prompt": "今天" * 200, "stream": True}, "too_long", None),
    ],
)
def test_what_is_not_supported_is_a_400_that_names_it(
    weather: httpx.Client, body: dict[str, Any], code: str, param: str | None
) -> None:
    reply = weather.post("/v1/completions", json=body)
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert error["code"] == code
    assert param is None or error["param"].startswith(param)


def test_unknown_model_is_404(weather: httpx.Client) -> None:
    reply = weather.post("/v1/completions", json={"model": "gpt-5", "prompt": "x"})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "weather" in error["message"]


def test_routes_of_other_tasks_say_which_to_use(
    weather: httpx.Client, intents: httpx.Client
) -> None:
    wrong = weather.post("/v1/classify", json={"input": "x"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "not_able")
    assert "/v1/completions" in wrong.json()["error"]["message"]
    for route, body in (
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/chat/completions", {"messages": [USER]}),
    ):
        wrong = intents.post(route, json=body)
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "not_able")
        assert "/v1/classify" in wrong.json()["error"]["message"]


def test_chat_answers_and_streams_the_same(talk: httpx.Client) -> None:
    body: dict[str, Any] = {"model": "talk", "messages": [USER]}
    whole = talk.post("/v1/chat/completions", json=body).json()
    message = {"role": "assistant", "content": "hi there"}
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"] == message
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] == 8
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    chunks = events(talk.post("/v1/chat/completions", json=body).text)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == "hi there"
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert chunks[-1]["usage"] == whole["usage"]


def test_chat_tells_log_probabilities(talk: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    wanted = {**body, "logprobs": True, "top_logprobs": 3}
    choice = talk.post("/v1/chat/completions", json=wanted).json()["choices"][0]
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == choice["message"]["content"]
    assert all(len(entry["top_logprobs"]) == 3 for entry in content)
    assert content[0]["top_logprobs"][0]["logprob"] == content[0]["logprob"] < 0
    assert bytes(content[0]["bytes"]).decode() == content[0]["token"]
    for refused in ({"top_logprobs": 3}, {"logprobs": True, "stream": True}):
        assert talk.post("/v1/chat/completions", json={**body, **refused}).status_code == 400


def test_chat_takes_parts_and_the_newer_limit(talk: httpx.Client) -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    body = {"messages": [{"role": "user", "content": parts}], "max_completion_tokens": 2}
    choice = talk.post("/v1/chat/completions", json=body).json()["choices"][0]
    assert choice["message"]["content"] == "hi"
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "pirate", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [USER], "tools": []}, "tools"),
        ({"messages": [USER], "response_format": {"type": "json_object"}}, "response_format"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages.0.content",
        ),
    ],
)
def test_chat_refuses_by_name(talk: httpx.Client, body: dict[str, Any], param: str) -> None:
    reply = talk.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith(param)


def test_models_without_conversations_say_so(weather: httpx.Client) -> None:
    reply = weather.post("/v1/chat/completions", json={"messages": [USER]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "no_chat")
