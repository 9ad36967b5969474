"""OpenAI's own Python client, and curl where it is installed, against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Literal

import httpx
import openai
import pytest
from pydantic import BaseModel

from llmwright.serving.served.model import ServedModel

Clients = Callable[..., openai.OpenAI]
USER: Any = {"role": "user", "content": "hello"}


class Card(BaseModel):
    """A schema as users of the client write it."""

    name: Literal["ada", "bo"]
    old: bool


@pytest.fixture(scope="module")
def clients(server: Callable[..., Any]) -> Iterator[Clients]:
    """Return the client of a model's server; servers are kept."""
    made: dict[str, openai.OpenAI] = {}
    with ExitStack() as stack:

        def client(name: str, **options: Any) -> openai.OpenAI:
            if name not in made:
                http = stack.enter_context(server(name, ["secret"]))
                own = stack.enter_context(httpx.Client(trust_env=False))
                made[name] = openai.OpenAI(
                    base_url=f"{http.base_url}/v1",
                    api_key="secret",
                    http_client=own,
                    max_retries=0,
                )
            return made[name].with_options(**options) if options else made[name]

        yield client


def test_models_are_listed(clients: Clients) -> None:
    client = clients("talk")
    (model,) = client.models.list().data
    assert model.id == client.models.retrieve("talk").id == "talk"


def test_conversations(clients: Clients) -> None:
    found = clients("talk").chat.completions.create(model="talk", messages=[USER])
    assert found.choices[0].message.content == "hi there"
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert found.usage.completion_tokens == 8


def test_conversations_in_streams_with_usage(clients: Clients) -> None:
    stream = clients("talk").chat.completions.create(
        model="talk", messages=[USER], stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "hi there"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8


def test_several_answers_and_log_probabilities(clients: Clients) -> None:
    found = clients("talk").chat.completions.create(
        model="talk", messages=[USER], n=3, logprobs=True, top_logprobs=2, seed=1, temperature=1.5
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    told = found.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert "".join(one.token for one in told.content) == found.choices[0].message.content
    assert all(len(one.top_logprobs) == 2 for one in told.content)


def test_completions_and_their_streams(clients: Clients) -> None:
    client = clients("weather")
    found = client.completions.create(model="weather", prompt="外面很冷", logprobs=1)
    assert found.choices[0].text == "气温很低"
    assert found.choices[0].logprobs is not None
    assert found.choices[0].logprobs.tokens == list("气温很低")
    stream = client.completions.create(model="weather", prompt=["外面很冷"], n=2, stream=True)
    texts = ["", ""]
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["气温很低", "气温很低"]


def test_a_parsed_answer_is_of_its_class(clients: Clients) -> None:
    found = clients("talk").chat.completions.parse(
        model="talk", messages=[USER], response_format=Card, max_tokens=60
    )
    assert isinstance(found.choices[0].message.parsed, Card)
    # Cut off, it would be no card; the client says so.
    with pytest.raises(openai.LengthFinishReasonError):
        clients("talk").chat.completions.parse(
            model="talk", messages=[USER], response_format=Card, max_tokens=2
        )


def test_a_streamed_answer_is_parsed_too(clients: Clients) -> None:
    with clients("talk").chat.completions.stream(
        model="talk", messages=[USER], response_format=Card, max_tokens=60
    ) as stream:
        found = stream.get_final_completion()
    assert isinstance(found.choices[0].message.parsed, Card)


def test_vectors(clients: Clients, models: Callable[[str], ServedModel]) -> None:
    texts = ["it is cold", "the card came"]
    # The client asks for base64 by itself.
    found = clients("vectors").embeddings.create(model="vectors", input=texts)
    expected_ND = models("vectors").predictor.embed(texts)
    for one, expected_D in zip(found.data, expected_ND, strict=True):
        assert one.embedding == pytest.approx(expected_D.tolist(), abs=1e-6)
    plain = clients("vectors").embeddings.create(
        model="vectors", input=texts[0], encoding_format="float"
    )
    assert plain.data[0].embedding == pytest.approx(found.data[0].embedding, abs=1e-6)


def test_errors_are_the_clients_own(clients: Clients) -> None:
    client = clients("talk")
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-9", messages=[USER])
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(
            model="talk",
            messages=[USER],
            tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
        )
    assert wrong.value.param == "tools"
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="talk", input="")
    with pytest.raises(openai.AuthenticationError):
        clients("talk", api_key="wrong").models.list()


def test_too_slow_is_the_clients_timeout(clients: Clients) -> None:
    with pytest.raises(openai.APITimeoutError):
        clients("talk", timeout=1e-4).chat.completions.create(model="talk", messages=[USER])


def test_a_full_server_is_asked_again(server: Callable[..., Any]) -> None:
    """Without a place the client waits as told and asks again; then it says what it was told."""
    replies: list[int] = []

    def note(reply: httpx.Response) -> None:
        replies.append(reply.status_code)

    with (
        server("talk", max_concurrency=1, max_queue=0) as http,
        httpx.Client(trust_env=False, event_hooks={"response": [note]}) as own,
    ):
        worker = http.app.state.service.default.worker
        worker._closing, before = True, worker._closing
        client = openai.OpenAI(
            base_url=f"{http.base_url}/v1", api_key="-", http_client=own, max_retries=1
        )
        try:
            with pytest.raises(openai.InternalServerError) as refused:
                client.chat.completions.create(model="talk", messages=[USER])
        finally:
            worker._closing = before
        assert replies == [503, 503]
        assert refused.value.status_code == 503
        assert refused.value.code == "shutting_down"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(server: Callable[..., Any]) -> None:
    def curl(*words: str) -> str:
        command = ["curl", "-sS", "--noproxy", "*", "-m", "20", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with server("talk") as http:
        address = str(http.base_url).rstrip("/")
        as_json = ("-H", "Content-Type: application/json")
        body = json.dumps({"messages": [USER]})
        reply = json.loads(curl(f"{address}/v1/chat/completions", *as_json, "-d", body))
        assert reply["choices"][0]["message"]["content"] == "hi there"
        streamed = json.dumps({"messages": [USER], "stream": True})
        lines = curl("-N", f"{address}/v1/chat/completions", *as_json, "-d", streamed)
        assert lines.rstrip().endswith("data: [DONE]")
        assert json.loads(curl("-F", "prompt=hello", f"{address}/generate"))["text"] == "hi there"
        told = curl("-o", "-", "-w", "%{http_code}", f"{address}/v1/embeddings", *as_json,
                    "-d", "{oops")  # fmt: skip
        assert told.endswith("400")
