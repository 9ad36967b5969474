"""OpenAI's text routes: whole answers, streams, usage, what is not supported."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from llmwright.inference.predictor import Predictor
from llmwright.serving.served.model import ServedModel
from llmwright.serving.served.source import styled

USER = {"role": "user", "content": "hello"}
SAUSAGE = {"type": "json_schema", "json_schema": {"schema": {"type": "sausage"}}}
CARD = {
    "type": "object",
    "properties": {"name": {"enum": ["ada", "bo"]}, "old": {"type": "boolean"}},
    "required": ["name", "old"],
    "additionalProperties": False,
}


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
        ({"prompt": "x", "suffix": "y"}, "unsupported_parameter", "suffix"),
        ({"prompt": "x", "n": 65}, "invalid_parameter", "n"),
        ({"prompt": ["x"] * 30, "n": 10}, "too_many", "n"),
        ({"prompt": "x", "best_of": 2}, "best_of", "best_of"),
        ({"prompt": "x", "min_tokens": 9, "max_tokens": 8}, "more_than_most", "min_tokens"),
        ({"prompt": "x", "response_format": {"type": "xml"}}, "invalid_parameter", "response_f"),
        ({"prompt": "x", "response_format": SAUSAGE}, "INFER-071", "response_format"),
        ({"prompt": "x", "echo": True}, "invalid_parameter", "echo"),
        ({"prompt": "x", "presence_penalty": 3}, "invalid_parameter", "presence_penalty"),
        ({"prompt": "x", "logit_bias": {"1": 101}}, "invalid_parameter", "logit_bias"),
        ({"prompt": "x", "logit_bias": {"9999999": 1}}, "unknown_token", "logit_bias"),
        ({"prompt": [1, 9_999_999]}, "unknown_token", "prompt"),
        ({"prompt": [1, -2]}, "invalid_parameter", "prompt"),
        ({"prompt": [1, "x"]}, "invalid_parameter", "prompt"),
        ({"prompt": [[1], []]}, "invalid_parameter", "prompt"),
        ({"prompt": [True]}, "invalid_parameter", "prompt"),
        ({"prompt": [5] * 200}, "too_long", None),
        ({"prompt": [5], "controls": {"tone": "a"}}, "no_style_of_ids", "controls"),
        ({"prompt": []}, "invalid_parameter", "prompt"),
        ({"prompt": "x", "max_tokens": 0}, "invalid_parameter", "max_tokens"),
        ({"prompt": "x", "max_tokens": -1}, "invalid_parameter", "max_tokens"),
        ({"prompt": "x", "max_tokens": 10**9}, "too_many_tokens", "max_tokens"),
        ({"prompt": "x", "stop": ["a"] * 1000}, "invalid_parameter", "stop"),
        ({"prompt": "x", "stream_options": {}}, "needs_stream", "stream_options"),
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
    assert talk.post("/v1/chat/completions", json={**body, "top_logprobs": 3}).status_code == 400
    chunks = events(talk.post("/v1/chat/completions", json={**wanted, "stream": True}).text)
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    streamed = [entry for each in told if each for entry in each["content"]]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in content]


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
        ({"messages": [USER], "response_format": SAUSAGE}, "response_format"),
        ({"messages": [USER], "response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": [USER], "audio": {}}, "audio"),
        ({"messages": [USER], "n": 0}, "n"),
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


def test_several_texts_of_one_prompt_differ_and_repeat(poems: httpx.Client) -> None:
    def ask(**more: Any) -> list[str]:
        body = {"prompt": "白", "temperature": 3.0, "seed": 7, "max_tokens": 12, **more}
        choices = poems.post("/v1/completions", json=body).json()["choices"]
        return [choice["text"] for choice in choices]

    four = ask(n=4)
    assert len(set(four)) > 1
    assert ask(n=4) == four
    # The first is what is written alone; without randomness all are.
    assert ask() == four[:1]
    assert len(set(ask(n=3, temperature=0))) == 1
    assert ask(n=2, best_of=2) == four[:2]
    both = ask(prompt=["白", "床"], n=2)
    assert both[:2] == four[:2]
    assert len(both) == 4


def test_a_prompt_of_several_texts_is_counted_once(weather: httpx.Client) -> None:
    reply = weather.post("/v1/completions", json={"prompt": "外面很冷", "n": 3}).json()
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert reply["usage"] == {"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17}


def test_streams_of_several_texts_add_up(poems: httpx.Client) -> None:
    body = {"prompt": ["白", "床前"], "n": 2, "temperature": 2.0, "seed": 3, "max_tokens": 9}
    whole = poems.post("/v1/completions", json=body).json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = events(poems.post("/v1/completions", json={**body, **options}).text)
    texts = dict.fromkeys(range(4), "")
    for chunk in chunks[:-1]:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    assert list(texts.values()) == [choice["text"] for choice in whole["choices"]]
    assert chunks[-1]["usage"] == whole["usage"]


def test_chat_gives_several_answers_and_streams_them(talk: httpx.Client) -> None:
    body: dict[str, Any] = {"messages": [USER], "n": 2, "temperature": 2.5, "seed": 1}
    whole = talk.post("/v1/chat/completions", json=body).json()["choices"]
    texts = ["", ""]
    for chunk in events(talk.post("/v1/chat/completions", json={**body, "stream": True}).text):
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == [choice["message"]["content"] for choice in whole]


def test_streamed_log_probabilities_are_those_of_the_whole(poems: httpx.Client) -> None:
    body = {"prompt": "白日", "logprobs": 1, "stop": "黄河"}
    whole = poems.post("/v1/completions", json=body).json()["choices"][0]["logprobs"]
    chunks = events(poems.post("/v1/completions", json={**body, "stream": True}).text)
    for name, values in whole.items():
        parts = [chunk["choices"][0]["logprobs"][name] for chunk in chunks]
        assert [value for part in parts for value in part] == values


def test_token_ids_are_told_and_taken(
    weather: httpx.Client, models: Callable[[str], ServedModel]
) -> None:
    body = {"prompt": "今天天气很好", "return_token_ids": True}
    choice = weather.post("/v1/completions", json=body).json()["choices"][0]
    tokenizer = models("weather").predictor.tokenizer
    assert tokenizer.decode(choice["token_ids"]) == choice["text"] == "今天天气晴朗"
    asked = {"prompt": choice["prompt_token_ids"]}
    again = weather.post("/v1/completions", json=asked).json()
    assert again["choices"][0]["text"] == choice["text"]
    assert "token_ids" not in again["choices"][0]
    assert again["usage"]["prompt_tokens"] == len(choice["prompt_token_ids"]) == 7
    several = {"prompt": [asked["prompt"], asked["prompt"]]}
    assert len(weather.post("/v1/completions", json=several).json()["choices"]) == 2
    chunks = events(weather.post("/v1/completions", json={**body, "stream": True}).text)
    told = [chunk["choices"][0] for chunk in chunks]
    assert [i for one in told for i in one["token_ids"]] == choice["token_ids"]
    assert told[0]["prompt_token_ids"] == asked["prompt"]
    assert all("prompt_token_ids" not in one for one in told[1:])


@pytest.mark.parametrize("stream", [False, True])
def test_answers_fulfil_a_schema(talk: httpx.Client, stream: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "card", "strict": True, "schema": CARD}}
    body = {"messages": [USER], "response_format": form, "stream": stream, "max_tokens": 60}
    reply = talk.post("/v1/chat/completions", json=body)
    if stream:
        chunks = events(reply.text)
        text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    else:
        text = reply.json()["choices"][0]["message"]["content"]
    card = json.loads(text)
    assert card["name"] in ("ada", "bo")
    assert isinstance(card["old"], bool)


def test_any_object_is_an_object(talk: httpx.Client) -> None:
    body = {"messages": [USER], "response_format": {"type": "json_object"}, "max_tokens": 3}
    text = talk.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    assert text.startswith("{")
    plain = {"messages": [USER], "response_format": {"type": "text"}}
    reply = talk.post("/v1/chat/completions", json=plain).json()["choices"][0]
    assert reply["message"]["content"] == "hi there"


def test_lengths_follow_the_request(poems: httpx.Client) -> None:
    def ask(**more: Any) -> tuple[str, str, int]:
        reply = poems.post("/v1/completions", json={"prompt": "白日", **more}).json()
        choice = reply["choices"][0]
        return choice["text"], choice["finish_reason"], reply["usage"]["completion_tokens"]

    whole = "依山尽，黄河入海流。"
    assert ask()[:2] == (whole, "stop")
    assert ask(max_tokens=4)[:2] == (whole[:4], "length")
    assert ask(min_tokens=20, max_tokens=30)[2] >= 20
    # It would go on; but its sentence is done, and it is long enough.
    text, reason, _ = ask(min_tokens=10, end_sentence_after=5, max_tokens=40)
    assert (text, reason) == (whole, "stop")


def test_kept_answers_are_told_apart_by_their_schema(server: Callable[..., Any]) -> None:
    with server("talk", cache_bytes=100_000) as client:

        def ask(schema: dict[str, Any] | None) -> str:
            form = {"type": "json_schema", "json_schema": {"schema": schema}}
            body = {"messages": [USER], "response_format": form if schema else None}
            reply = client.post("/v1/chat/completions", json=body)
            text: str = reply.json()["choices"][0]["message"]["content"]
            return text

        found = [ask(schema) for schema in (None, {"const": "a"}, {"const": "b"}, {"const": "a"})]
        assert found == ["hi there", '"a"', '"b"', '"a"']


def test_a_chat_model_is_told_a_style(
    server: Callable[..., Any], models: Callable[[str], ServedModel]
) -> None:
    plain = models("talk")
    told = ServedModel(Predictor.open(plain.predictor.folder, engine="torch"), "talk")
    words = "please be formal"
    told.predictor.contract = styled(told.contract, {"tone": {"formal": words}})
    told = ServedModel(told.predictor, "talk")
    with server("talk", model=told) as client:
        assert client.get("/v1/models").json()["data"][0]["controls"] == {"tone": ["formal"]}

        def count(**body: Any) -> int:
            body = {"messages": [USER], "return_token_ids": True, **body}
            reply = client.post("/v1/chat/completions", json=body).json()
            text = told.predictor.tokenizer.decode(reply["prompt_token_ids"])
            assert (words in text) == ("controls" in body)
            found: int = reply["usage"]["prompt_tokens"]
            return found

        assert count(controls={"tone": "formal"}) > count()
        wrong = {"messages": [USER], "controls": {"tone": "rude"}}
        assert client.post("/v1/chat/completions", json=wrong).status_code == 400
    # Another model is told nothing.
    weather = models("weather").contract
    assert styled(weather, {"tone": {"formal": words}}) is weather
