"""Guards around a running server: refused prompts, ended and masked replies, a classifier."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import ConfigError
from llmwright.inference.predictor import Predictor
from llmwright.serving.config import ClassifierGuard, GuardKind, WordsGuard
from llmwright.serving.door.errors import ApiError
from llmwright.serving.guards.guarding import Guards, build

Server = Callable[..., Any]
Artifacts = Callable[[str], Artifact]
POEM = {"prompt": "白日", "max_tokens": 12, "temperature": 0}


def built(*settings: GuardKind) -> Guards:
    return build(settings, Path(), Path)


def streamed(client: Any, body: dict[str, Any]) -> tuple[str, str | None]:
    text, reason = "", None
    with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                (choice,) = json.loads(line[6:])["choices"]
                text += choice["text"]
                reason = choice["finish_reason"] or reason
    return text, reason


def test_prompts_are_refused_in_every_route(server: Server) -> None:
    with server("talk", guards=built(WordsGuard(words=["hello"]))) as client:
        messages = [{"role": "user", "content": "Hello, you"}]
        ids = client.app.state.service.default.model.predictor.tokenizer.encode("hello")
        for path, body in (
            ("/v1/completions", {"prompt": ["fine", "HELLO"]}),
            ("/v1/completions", {"prompt": "hello", "stream": True}),
            ("/v1/chat/completions", {"messages": messages}),
            ("/generate", {"prompt": "well, hello!"}),
            ("/v1/completions", {"prompt": ids}),
        ):
            reply = client.post(path, json=body)
            assert reply.status_code == 400, path
            assert reply.json()["error"]["code"] == "content_blocked"
            assert reply.headers["x-llmwright-flagged"] == "words"
        assert client.post("/v1/completions", json={"prompt": "helloween"}).status_code == 200
        page = client.get("/metrics").text
    assert 'llmwright_guard_total{action="block",guard="words",place="prompt"} 5.0' in page


def test_replies_end_where_a_guard_finds_something(server: Server) -> None:
    with server("poems") as client:
        whole = client.post("/v1/completions", json=POEM).json()["choices"][0]["text"]
    assert len(whole) > 5
    word = whole[2:4]
    block = built(WordsGuard(words=[word], looks_at="reply"))
    with server("poems", guards=block) as client:
        reply = client.post("/v1/completions", json={**POEM, "logprobs": 1})
        (choice,) = reply.json()["choices"]
        assert (choice["text"], choice["finish_reason"]) == (whole[:2], "content_filter")
        assert choice["logprobs"]["tokens"] == []
        assert reply.headers["x-llmwright-flagged"] == "words"
        assert streamed(client, POEM) == (whole[:2], "content_filter")
        answer = client.post("/generate", json=POEM).json()
        assert answer == {"text": whole[:2], "finish_reason": "content_filter"}
        two = client.post("/v1/completions", json={**POEM, "n": 2}).json()["choices"]
        assert [c["finish_reason"] for c in two] == ["content_filter"] * 2
        assert streamed(client, {**POEM, "n": 2})[0] == whole[:2] * 2
        # The place of a text that was ended is free again.
        worker = client.app.state.service.default.worker
        deadline = time.monotonic() + 5
        while worker._writing:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    hide = built(WordsGuard(words=[word], looks_at="reply", action="mask"))
    with server("poems", guards=hide) as client:
        expected = whole.replace(word, "**")
        assert client.post("/v1/completions", json=POEM).json()["choices"][0]["text"] == expected
        assert streamed(client, POEM)[0] == expected


def test_a_classifier_judges_prompts(server: Server, artifacts: Artifacts) -> None:
    folder = str(artifacts("intents").path)
    settings = ClassifierGuard(model=folder, labels=["lost_card"], threshold=0.6, looks_at="prompt")
    guards = built(settings)
    with server("talk", guards=guards) as client:
        bad = client.post("/v1/completions", json={"prompt": "my card was stolen"})
        assert bad.json()["error"]["code"] == "content_blocked"
        good = client.post("/v1/completions", json={"prompt": "what is the exchange rate"})
        assert good.status_code == 200
    guards.close()


def scores(artifact: Artifact, texts: list[str], label: str = "lost_card") -> list[float]:
    """How much each text has a label to the tiny model."""
    found = Predictor.open(artifact.path, engine="torch").predict(
        [{"text": text} for text in texts]
    )
    return [answer["scores"][label] for answer in found]


def test_a_classifier_judges_every_window_of_a_text(artifacts: Artifacts) -> None:
    text = "where is my card    where is my card    my card was stolen  where is my card  "
    windows = [text[max(0, n - 20) : n + 20] for n in range(0, len(text), 20)]
    said = scores(artifacts("intents"), windows)
    threshold = (min(said) + max(said)) / 2
    expected = "".join(
        "*" * len(text[20 * n : 20 * n + 20]) if score >= threshold else text[20 * n : 20 * n + 20]
        for n, score in enumerate(said)
    )
    assert expected not in (text, "*" * len(text))
    settings = ClassifierGuard(
        model=str(artifacts("intents").path), labels=["lost_card"], threshold=threshold,
        window_characters=40, action="mask",
    )  # fmt: skip
    guards = built(settings)

    async def run(size: int) -> list[str]:
        one = guards.filter("reply", [])
        assert one is not None
        starts = range(0, len(text), size)
        return [await one.feed(text[n : n + size], n + size >= len(text)) for n in starts]

    async def both() -> None:
        # However it comes, the same windows are judged; nothing of one passes before that.
        assert await run(len(text)) == [expected]
        pieces = await run(7)
        assert "".join(pieces) == expected
        assert pieces[:2] == ["", ""]

    asyncio.run(both())
    guards.close()


def test_what_a_classifier_cannot_read_whole_is_judged_in_parts(artifacts: Artifacts) -> None:
    # The tiny model reads 64 characters with those around them.
    halves = ["where is my card".ljust(40), "my card was stolen".ljust(40)]
    for label in ("card_arrival", "exchange_rate", "lost_card"):
        *parts, cut = scores(artifacts("intents"), [*halves, "".join(halves)], label)
        if max(parts) > cut:
            break
    threshold = (max(parts) + cut) / 2
    settings = ClassifierGuard(
        model=str(artifacts("intents").path), labels=[label], threshold=threshold,
        window_characters=4000,
    )  # fmt: skip
    guards = built(settings)
    with pytest.raises(ApiError, match="content_blocked"):
        asyncio.run(guards.prompts([{"text": "".join(halves)}], [], str))
    guards.close()


@pytest.mark.parametrize(("name", "labels"), [("intents", ["hate"]), ("weather", ["x"])])
def test_a_model_that_cannot_judge_is_refused(
    artifacts: Artifacts, name: str, labels: list[str]
) -> None:
    settings = ClassifierGuard(model=str(artifacts(name).path), labels=labels)
    with pytest.raises(ConfigError, match="SERVE-016"):
        built(settings)
