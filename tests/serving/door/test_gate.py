"""The door: keys, errors of the framework, request ids, metrics, the access log."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from llmwright.serving.door.auth import OPEN_ROUTES, Keys
from llmwright.serving.door.gate import ACCESS
from llmwright.serving.door.keys import create_key, revoke_key

Server = Callable[..., Any]
KEY = "correct horse battery staple"


def routes_of(app: Any) -> list[tuple[str, str]]:
    """Every method and path the app answers, as a request would name it."""
    found = [
        (method, re.sub(r"\{[^}]*\}", "x", route.path))
        for route in iter_route_contexts(app.routes)
        for method in sorted(route.methods or {"GET"})
    ]
    return [*found, ("GET", "/nothing"), ("POST", "/nothing")]


def test_every_route_but_health_needs_the_key(server: Server) -> None:
    with server("weather", keys=[KEY, "another"]) as client:
        walked = routes_of(client.app)
        assert len(walked) > 12
        for method, path in walked:
            reply = client.request(method, path)
            if path in OPEN_ROUTES:
                assert reply.status_code == 200, path
                continue
            assert reply.status_code == 401, (method, path)
            assert reply.headers["www-authenticate"].startswith("Bearer")
            if method != "HEAD":
                assert reply.json()["error"]["code"] == "invalid_api_key"
        for path in ("/metrics/", "//metrics", "/v1/../metrics", "/%6detrics", "/METRICS"):
            assert client.get(path).status_code == 401, path
        for wrong in ("", "Bearer", "Bearer x", f"Token {KEY}", f"Basic {KEY}", "Bearer \xe9"):
            headers = {"authorization": wrong.encode("latin-1")}
            assert client.get("/v1/models", headers=headers).status_code == 401, wrong
        for key in (KEY, "another"):
            headers = {"authorization": f"Bearer {key}"}
            assert client.get("/v1/models", headers=headers).status_code == 200


def test_each_key_opens_what_its_scopes_and_models_say(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    asks = create_key("asks", file=file, scopes=["infer"], models=["weather"])[1]
    watches = create_key("watches", file=file, scopes=["metrics"])[1]
    elsewhere = create_key("elsewhere", file=file, models=["other"])[1]
    with server("weather", held=Keys(file=file)) as client:

        def ask(key: str, method: str, path: str, **given: Any) -> tuple[int, str | None]:
            headers = {"authorization": f"Bearer {key}"}
            reply = client.request(method, path, headers=headers, **given)
            is_json = reply.headers["content-type"] == "application/json"
            error = reply.json().get("error", {}) if is_json else {}
            return reply.status_code, error.get("code")

        body = {"prompt": "外面很冷", "max_tokens": 2}
        assert ask(asks, "POST", "/v1/completions", json=body) == (200, None)
        assert ask(asks, "GET", "/metrics") == (403, "scope_missing")
        assert ask(asks, "POST", "/admin/anything") == (403, "scope_missing")
        assert ask(watches, "GET", "/metrics") == (200, None)
        assert ask(watches, "POST", "/v1/completions", json=body) == (403, "scope_missing")
        for sent in (body, {**body, "model": "weather"}):
            found = ask(elsewhere, "POST", "/v1/completions", json=sent)
            assert found == (403, "model_not_allowed")
        assert ask(elsewhere, "GET", "/v1/models/weather") == (403, "model_not_allowed")
        listed = client.get("/v1/models", headers={"authorization": f"Bearer {elsewhere}"})
        assert listed.json()["data"] == []
        revoke_key("asks", file=file)
        assert ask(asks, "POST", "/v1/completions", json=body) == (401, "invalid_api_key")


def test_limits_of_a_key_are_told_and_kept(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    few = create_key("few", file=file, requests_per_minute=3, tokens_per_minute=1000)[1]
    body = {"prompt": "外面很冷", "max_tokens": 2}
    with server("weather", held=Keys(file=file)) as client:
        client.headers["authorization"] = f"Bearer {few}"
        replies = [client.post("/v1/completions", json=body) for _ in range(4)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        assert replies[1].headers["x-ratelimit-limit-requests"] == "3"
        assert replies[1].headers["x-ratelimit-remaining-requests"] == "1"
        assert int(replies[1].headers["x-ratelimit-remaining-tokens"]) < 1000
        last = replies[3]
        assert last.json()["error"]["code"] == "rate_limited_requests"
        assert last.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(last.headers["retry-after"]) <= 20
        assert client.get("/livez").status_code == 200


def test_a_browser_gives_the_key_as_a_password(server: Server) -> None:
    basic = "Basic " + base64.b64encode(f"anyone:{KEY}".encode()).decode()
    with server("weather", keys=[KEY]) as client:
        asked = client.get("/", headers={"sec-fetch-mode": "navigate"})
        assert asked.status_code == 401
        assert asked.headers["www-authenticate"].startswith("Basic")
        assert client.get("/", headers={"authorization": basic}).status_code == 200
        # Another site's form would carry it too: it does not count there.
        foreign = {"authorization": basic, "sec-fetch-site": "cross-site"}
        assert client.post("/generate", data={"x": "y"}, headers=foreign).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "route_not_found"),
        ("GET", "/v1/models/other", 404, "model_not_found"),
        ("GET", "/generate", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/completions", 400, "not_an_object"),
    ],
)
def test_errors_of_the_framework_use_the_envelope(
    weather: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    reply = weather.request(method, path)
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert reply.json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"prompt": "x"}', "text/plain"),
        (b"[" * 100_000, "application/json"),
        (b'{"prompt": "\\ud800"}', "application/json"),
        (b'{"prompt": NaN}', "application/json"),
        (b"\xff", "application/json"),
    ],
)
def test_unreadable_bodies_are_400(weather: httpx.Client, content: bytes, kind: str) -> None:
    reply = weather.post("/v1/completions", content=content, headers={"content-type": kind})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.8.8.8:1", "[::1]:8000"])
def test_an_open_server_answers_to_this_machines_names(weather: httpx.Client, host: str) -> None:
    assert weather.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "[x", "192.0.2.7"])
def test_an_open_server_answers_to_no_other_name(weather: httpx.Client, host: str) -> None:
    reply = weather.get("/v1/models", headers={"host": host})
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "wrong_host"


def test_with_a_key_any_name_will_do(server: Server) -> None:
    with server("weather", ["secret"]) as client:
        headers = {"host": "models.example", "authorization": "Bearer secret"}
        assert client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "x", "max_tokens": 0}, "不得小于 1"),
        ({"prompt": "x", "temperature": "hot"}, "须为数字"),
        ({"prompt": "x", "temperature": 99}, "不得大于 10"),
        ({"prompt": "x", "stream_options": {"include_obfuscation": True}}, "仅支持 False"),
        ({"prompt": "x", "stream": "perhaps"}, "true 或 false"),
        ({"prompt": "x", "stop": ["a"] * 17}, "最多允许 16 个"),
        ({"prompt": 3}, "须为文本"),
    ],
)
def test_wrong_values_are_explained_in_the_clients_language(
    weather: httpx.Client, body: dict[str, Any], said: str
) -> None:
    reply = weather.post("/v1/completions", json=body, headers={"accept-language": "zh-CN"})
    message = reply.json()["error"]["message"]
    assert reply.status_code == 400
    assert said in message
    assert not re.search("[a-z]{4,} [a-z]{2,} ", message)


def test_large_bodies_are_413(server: Server) -> None:
    def chunks() -> Any:
        for _ in range(30):
            yield b"x" * 1000

    with server("weather", max_body_bytes=10_000) as client:
        for path in ("/v1/completions", "/generate"):
            for content in (b"x" * 20_000, chunks()):
                headers = {"content-type": "application/json"}
                reply = client.post(path, content=content, headers=headers)
                assert reply.status_code == 413
                assert reply.json()["error"]["code"] == "body_too_large"
        fits = client.post("/generate", json={"description": "x" * 9000})
        assert fits.status_code == 200


def test_errors_speak_the_clients_language(weather: httpx.Client) -> None:
    headers = {"accept-language": "zh-CN,zh;q=0.9"}
    reply = weather.post("/generate", json={}, headers=headers)
    assert reply.json()["error"]["message"] == "缺少字段 description。"


def test_request_ids_come_back(weather: httpx.Client) -> None:
    given = weather.get("/livez", headers={"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    made = weather.get("/livez", headers={"x-request-id": "no spaces, please"})
    assert len(made.headers["x-request-id"]) == 32


def test_metrics_count_with_bounded_labels(server: Server) -> None:
    with server("intents") as client:
        for path in ("/a", "/b", "/c?d=e"):
            client.get(path)
        client.post("/v1/classify", json={"input": ["where is my card", "my card was stolen"]})
        page = client.get("/metrics").text
    names = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
    assert all(":" not in name for name in names)
    assert 'llmwright_requests_total{code="404",model="-",route="other"} 3.0' in page
    assert 'llmwright_prediction_label_total{label="card_arrival",model="intents"} 1.0' in page
    assert 'llmwright_tokens_total{kind="prompt",model="intents"} 38.0' in page
    for name in ("inflight", "queue_depth", "queue_wait_seconds", "time_to_first_token_seconds"):
        assert f"llmwright_{name}" in names


def test_health_is_logged_when_its_answer_changes(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=ACCESS.name)
    with server("weather", access_log=True) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        for draining in (False, True, True, False, False):
            service.draining = draining
            client.get("/readyz")
    lines = [json.loads(record.message) for record in caplog.records if record.name == ACCESS.name]
    assert [line["status"] for line in lines] == [503, 200]


def test_access_log_tells_all_but_the_content(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=ACCESS.name)
    with server("weather", keys=[KEY], access_log=True) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        client.post("/v1/completions", json={"prompt": "今天天气很好"}, headers=headers)
        client.get("/livez")
        client.get("/readyz")
    lines = [json.loads(record.message) for record in caplog.records if record.name == ACCESS.name]
    assert len(lines) == 1
    line = lines[0]
    assert (line["route"], line["status"], line["finish_reason"]) == (
        "/v1/completions",
        200,
        "stop",
    )
    assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 6)
    assert line["duration_ms"] > 0
    text = caplog.text
    assert "天气" not in text
    assert KEY not in text
    assert line["key"] == "key-0"
