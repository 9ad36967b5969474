from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmwright.serving.cache import AnswerCache
from llmwright.serving.config import WordsGuard
from llmwright.serving.door.auth import Keys
from llmwright.serving.door.keys import create_key
from llmwright.serving.guards.guarding import build

Server = Callable[..., Any]
HEADER = "x-llmwright-cache"


def test_the_least_recently_asked_make_room() -> None:
    cache = AnswerCache(3000)
    for name in "abc":
        cache.put(name, name * 100)
    assert cache.get("a") is not None
    for name in "de":
        cache.put(name, name * 100)
    assert cache.num_bytes <= 3000
    assert cache.get("a") is not None
    assert cache.get("b") is None
    cache.put("huge", "x" * 5000)
    assert cache.get("huge") is None
    assert cache.get("e") is not None


def test_only_what_always_comes_out_alike_is_kept(server: Server) -> None:
    body = {"prompt": "外面很冷", "max_tokens": 6}

    def said(client: Any, **more: Any) -> str | None:
        reply = client.post("/v1/completions", json={**body, **more})
        assert reply.status_code == 200
        found: str | None = reply.headers.get(HEADER)
        return found

    with server("weather", cache_bytes=1_000_000) as client:
        assert [said(client), said(client)] == ["miss", "hit"]
        assert [said(client, temperature=1), said(client, temperature=1)] == [None, None]
        seeded = {"temperature": 1, "seed": 3}
        assert [said(client, **seeded), said(client, **seeded)] == ["miss", "hit"]
        assert said(client, max_tokens=5) == "miss"
        assert said(client, **seeded, n=2) == "miss"
        assert [said(client, prompt=[5, 6]), said(client, prompt=[5, 6])] == ["miss", "hit"]
        assert said(client, prompt="外面很热") == "miss"
        assert said(client, user="other", model="weather") == "hit"
        page = client.get("/metrics").text
    assert 'llmwright_cache_total{result="hit"} 4.0' in page
    with server("weather") as client:
        assert [said(client), said(client)] == [None, None]


def test_kept_answers_are_the_answers(server: Server) -> None:
    body = {"prompt": "外面很冷", "max_tokens": 6, "logprobs": 2}
    with server("weather", cache_bytes=1_000_000) as client:
        first, second = (client.post("/v1/completions", json=body).json() for _ in range(2))
        assert first["choices"] == second["choices"]
        assert first["usage"] == second["usage"]
        assert first["id"] != second["id"]
        plain = {"prompt": ["外面很冷", "风非常大"], "max_tokens": 6}
        both = [client.post("/v1/completions", json=plain) for _ in range(2)]
        assert both[0].json()["choices"] == both[1].json()["choices"]
        assert [reply.headers[HEADER] for reply in both] == ["miss", "hit"]
        # A stream fills it too, and is filled from it.
        texts = []
        for prompt in ("今天下了大雨", "今天下了大雨", "风非常大"):
            text = ""
            ask = {"prompt": prompt, "max_tokens": 6, "stream": True}
            with client.stream("POST", "/v1/completions", json=ask) as reply:
                for line in reply.iter_lines():
                    if line.startswith("data: {"):
                        text += json.loads(line[6:])["choices"][0]["text"]
            texts.append((text, reply.headers[HEADER]))
        assert texts[0][0] == texts[1][0] == "今天有大雨"
        assert [said for _, said in texts] == ["miss", "hit", "hit"]


def test_labels_are_kept(server: Server) -> None:
    body = {"input": ["where is my card", "my card was stolen"]}
    with server("intents", cache_bytes=1_000_000) as client:
        first, second = (client.post("/v1/classify", json=body) for _ in range(2))
        assert first.json()["data"] == second.json()["data"]
        assert second.headers[HEADER] == "hit"
        top = client.post("/v1/classify", json={**body, "top_k": 1})
        assert top.headers[HEADER] == "hit"
        assert len(top.json()["data"][0]["scores"]) == 1


def test_a_key_gets_no_answer_of_another(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys = [create_key(name, file=file, tokens_per_minute=1000)[1] for name in ("a", "b")]
    body = {"prompt": "外面很冷", "max_tokens": 6}

    def ask(client: Any, key: str) -> tuple[str, str]:
        reply = client.post(
            "/v1/completions", json=body, headers={"authorization": f"Bearer {key}"}
        )
        return reply.headers[HEADER], reply.headers["x-ratelimit-remaining-tokens"]

    with server("weather", held=Keys(file=file), cache_bytes=1_000_000) as client:
        said = [ask(client, key)[0] for key in (*keys, *keys)]
        assert said == ["miss", "miss", "hit", "hit"]
        # What was kept costs the key nothing more.
        assert int(ask(client, keys[0])[1]) >= 980
    shared = {"cache_bytes": 1_000_000, "cache_shared": True}
    with server("weather", held=Keys(file=file), **shared) as client:
        assert [ask(client, key)[0] for key in keys] == ["miss", "hit"]


def test_guards_look_at_kept_answers_too(server: Server) -> None:
    body = {"prompt": "今天下了大雨", "max_tokens": 6}
    guards = build([WordsGuard(words=["大雨"], looks_at="reply")], Path(), Path)
    with server("weather", cache_bytes=1_000_000, guards=guards) as client:
        replies = [client.post("/v1/completions", json=body) for _ in range(2)]
    assert [reply.headers[HEADER] for reply in replies] == ["miss", "hit"]
    for reply in replies:
        (choice,) = reply.json()["choices"]
        assert (choice["text"], choice["finish_reason"]) == ("今天有", "content_filter")
