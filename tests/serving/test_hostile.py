"""What a hostile client may send: each is answered with its code, and the server answers the next.

What never becomes a whole HTTP request is in ``door/test_wire.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

Server = Callable[..., Any]
JSON = {"content-type": "application/json"}
TEXT = "/v1/completions"


def body(**fields: Any) -> bytes:
    return json.dumps({"prompt": "白日", "max_tokens": 2, **fields}).encode()


def schema(value: Any) -> bytes:
    named = {"name": "x", "schema": value}
    return body(response_format={"type": "json_schema", "json_schema": named})


def nested(depth: int) -> Any:
    value: Any = {"type": "string"}
    for _ in range(depth):
        value = {"type": "object", "properties": {"a": value}}
    return value


def raw(fields: str) -> bytes:
    return ('{"prompt": "白日", "max_tokens": 2, ' + fields + "}").encode()


# Name → (path, headers, content, status, code; None where any code will do).
CASES: dict[str, tuple[str, dict[str, str], bytes, int, str | None]] = {
    "no body": (TEXT, JSON, b"", 400, None),
    "cut JSON": (TEXT, JSON, b'{"prompt": "x"', 400, "invalid_json"),
    "a list": (TEXT, JSON, b"[]", 400, "not_an_object"),
    "a text": (TEXT, JSON, b'"x"', 400, "not_an_object"),
    "null": (TEXT, JSON, b"null", 400, None),
    "many wrong ids": (TEXT, JSON, raw('"prompt": [' + "-1," * 80_000 + "-1]"), 400, None),
    "many wrong turns": (
        "/v1/chat/completions", JSON, b'{"messages": [' + b"{}," * 80_000 + b"{}]}", 400, None,
    ),
    "a huge id to embed": (
        "/v1/embeddings", JSON, b'{"input": [99999999999999999999]}', 400, None,
    ),
    "deep lists": (TEXT, JSON, b"[" * 200_000, 400, "invalid_json"),
    "deep objects": (TEXT, JSON, b'{"a":' * 40_000, 400, "invalid_json"),
    "deep and whole": (TEXT, JSON, b"[" * 90_000 + b"]" * 90_000, 400, "invalid_json"),
    "deep for generate": ("/generate", JSON, b"[" * 200_000, 400, "invalid_json"),
    "deep field": (TEXT, JSON, raw('"user": ' + "[" * 900 + "]" * 900), 400, "invalid_parameter"),
    "not UTF-8": (TEXT, JSON, b'{"prompt": "\xff\xfe"}', 400, "not_utf8"),
    "UTF-16": (TEXT, JSON, body().decode().encode("utf-16"), 200, None),
    "no content type": (TEXT, {}, body(), 400, "not_an_object"),
    "other content type": (TEXT, {"content-type": "text/plain"}, body(), 400, "not_an_object"),
    "XML": (TEXT, {"content-type": "application/xml"}, b"<x/>", 400, "not_an_object"),
    "strange content type": (TEXT, {"content-type": "json;;;"}, body(), 400, "not_an_object"),
    "other charset": (TEXT, {"content-type": "application/json; charset=x"}, body(), 200, None),
    "content type of generate": ("/generate", {"content-type": "a/b"}, b"x", 400, "content_type"),
    "multipart without boundary": (
        "/generate", {"content-type": "multipart/form-data"}, b"x", 400, "unreadable_form",
    ),
    "broken multipart": (
        "/generate", {"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n\r", 400, None,
    ),
    "a file": (
        "/generate", {"content-type": "multipart/form-data; boundary=x"},
        b'--x\r\ncontent-disposition: form-data; name="prompt"; filename="a"\r\n\r\nx\r\n--x--\r\n',
        400, "unreadable_form",
    ),
    "many form fields": (
        "/generate", {"content-type": "application/x-www-form-urlencoded"}, b"a=b&" * 5000, 400,
        "unreadable_form",
    ),
    "body too large": (TEXT, JSON, body(user="x" * 300_000), 413, "body_too_large"),
    "lone surrogate": (TEXT, JSON, b'{"prompt": "\\ud800", "max_tokens": 1}', 400, None),
    "surrogate in model": (TEXT, JSON, raw('"model": "\\udfff"'), 404, "model_not_found"),
    "surrogate in a name": (TEXT, JSON, raw('"\\ud800": 1'), 400, None),
    "surrogate in stop": (TEXT, JSON, raw('"stop": "\\ud800"'), 400, None),
    "surrogate in user": (TEXT, JSON, raw('"user": "\\ud800"'), 200, None),
    "surrogate for generate": ("/generate", JSON, b'{"prompt": "\\ud800"}', 400, "not_unicode"),
    "surrogate name for generate": ("/generate", JSON, b'{"\\ud800": 1}', 400, "unknown_field"),
    "NUL": (TEXT, JSON, b'{"prompt": "a\\u0000b", "max_tokens": 2}', 200, None),
    "raw NUL": (TEXT, JSON, b'{"prompt": "a\x00b"}', 400, "invalid_json"),
    "control characters": (TEXT, JSON, b'{"prompt": "\\u0001\\u202e\\ufeff"}', 200, None),
    "byte order mark": (TEXT, JSON, b"\xef\xbb\xbf" + body(), 200, None),
    "same name twice": (TEXT, JSON, raw('"max_tokens": 1'), 200, None),
    "NaN": (TEXT, JSON, raw('"temperature": NaN'), 400, None),
    "infinity": (TEXT, JSON, raw('"temperature": 1e999'), 400, "invalid_parameter"),
    "huge integer": (TEXT, JSON, raw('"seed": ' + "9" * 4000), 400, "invalid_parameter"),
    "integer beyond Python": (TEXT, JSON, raw('"seed": ' + "9" * 10_000), 400, "invalid_json"),
    "max_tokens 0": (TEXT, JSON, body(max_tokens=0), 400, "invalid_parameter"),
    "max_tokens -1": (TEXT, JSON, body(max_tokens=-1), 400, "invalid_parameter"),
    "max_tokens 10^9": (TEXT, JSON, body(max_tokens=10**9), 400, "too_many_tokens"),
    "max_tokens 10^30": (TEXT, JSON, body(max_tokens=10**30), 400, None),
    "max_tokens as text": (TEXT, JSON, body(max_tokens="many"), 400, "invalid_parameter"),
    "max_tokens 1.5": (TEXT, JSON, body(max_tokens=1.5), 400, "invalid_parameter"),
    "min_tokens 10^9": (TEXT, JSON, body(min_tokens=10**9), 400, None),
    "n 0": (TEXT, JSON, body(n=0), 400, "invalid_parameter"),
    "n 10^6": (TEXT, JSON, body(n=10**6), 400, "invalid_parameter"),
    "logprobs 10^6": (TEXT, JSON, body(logprobs=10**6), 400, "invalid_parameter"),
    "1000 stop strings": (TEXT, JSON, body(stop=["a"] * 1000), 400, "invalid_parameter"),
    "a long stop string": (TEXT, JSON, body(stop="a" * 10_000), 400, "invalid_parameter"),
    "an empty stop string": (TEXT, JSON, body(stop=""), 400, "invalid_parameter"),
    "5000 biases": (TEXT, JSON, body(logit_bias={str(n): 1 for n in range(5000)}), 400, None),
    "a bias of nothing": (TEXT, JSON, body(logit_bias={"9" * 30: 1}), 400, None),
    "a long prompt": (TEXT, JSON, body(prompt="白" * 5000), 400, "too_long"),
    "many prompts": (TEXT, JSON, body(prompt=["白"] * 5000), 400, "too_many"),
    "no prompts": (TEXT, JSON, body(prompt=[]), 400, None),
    "an empty prompt": (TEXT, JSON, body(prompt=""), 200, None),
    "a prompt of nothing": (TEXT, JSON, body(prompt=None), 400, None),
    "unknown ids": (TEXT, JSON, body(prompt=[10**9]), 400, "unknown_token"),
    "ids beyond 64 bits": (TEXT, JSON, body(prompt=[10**40]), 400, None),
    "negative ids": (TEXT, JSON, body(prompt=[-1]), 400, None),
    "unknown model": (TEXT, JSON, body(model="gpt"), 404, "model_not_found"),
    "a path as model": (TEXT, JSON, body(model="../../etc/passwd"), 404, "model_not_found"),
    "a long model name": (TEXT, JSON, body(model="x" * 100_000), 404, "model_not_found"),
    "unknown field": (TEXT, JSON, body(best=1), 400, "unsupported_parameter"),
    "a field of methods": (TEXT, JSON, body(__class__=1), 400, "unsupported_parameter"),
    "a template": (
        "/v1/chat/completions", JSON,
        b'{"messages": [{"role": "user", "content": "a"}], "chat_template": "{{ 7 }}"}',
        400, "unsupported_parameter",
    ),
    "a template's values": (
        "/v1/chat/completions", JSON,
        b'{"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {}}',
        400, "unsupported_parameter",
    ),
    "a role of nobody": (
        "/v1/chat/completions", JSON,
        b'{"messages": [{"role": "root", "content": "a"}]}', 400, "invalid_parameter",
    ),
    "no messages": ("/v1/chat/completions", JSON, b'{"messages": []}', 400, None),
    "deep schema": (TEXT, JSON, schema(nested(300)), 400, None),
    "large schema": (TEXT, JSON, schema({"enum": ["x" * 20_000] * 5}), 400, None),
    "a schema that is none": (TEXT, JSON, schema({"type": "nothing"}), 400, None),
    "a schema of itself": (TEXT, JSON, schema({"$ref": "#"}), 400, None),
    "a schema from elsewhere": (TEXT, JSON, schema({"$ref": "http://a.example/"}), 400, None),
    "a schema that nothing fulfils": (TEXT, JSON, schema({"allOf": [False]}), 400, None),
    "a hostile expression": (
        TEXT, JSON, schema({"type": "string", "pattern": "^((a{1,500}){1,500}){1,500}$"}),
        200, None,
    ),
    "an expression that is none": (
        TEXT, JSON, schema({"type": "string", "pattern": "((("}), 400, None,
    ),
    "a huge array": (
        TEXT, JSON,
        schema({"type": "array", "minItems": 10**9, "items": {"type": "string"}}), 200, None,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def talking(server: Server) -> Iterator[httpx.Client]:
    with server("talk", max_body_bytes=250_000) as client:
        yield client


@pytest.mark.parametrize("name", CASES)
def test_each_gets_its_code_and_the_next_its_answer(talking: httpx.Client, name: str) -> None:
    path, headers, content, status, code = CASES[name]
    reply = talking.post(path, content=content, headers=headers)
    assert reply.status_code == status, reply.text[:500]
    assert len(reply.content) < 4000
    if status != 200:
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert code in (None, error["code"]), error
    good = talking.post(TEXT, json={"prompt": "hello", "max_tokens": 2})
    assert good.status_code == 200
    assert good.json()["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/../../etc/passwd", 404, "route_not_found"),
        ("GET", "/v1/models/../../x", 404, None),
        ("GET", "/v1/models/%00", 404, "model_not_found"),
        ("GET", "/v1/models/%ff", 404, "model_not_found"),
        ("GET", "/" + "a" * 20_000, 404, "route_not_found"),
        ("GET", "//evil.example/", 404, "route_not_found"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("PUT", "/v1/completions", 405, "method_not_allowed"),
        ("DELETE", "/generate", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/completions", 405, "method_not_allowed"),
        ("TRACE", "/", 405, "method_not_allowed"),
        ("BREW", "/", 405, "method_not_allowed"),
    ],
)
def test_strange_routes_and_methods(
    talking: httpx.Client, method: str, path: str, status: int, code: str | None
) -> None:
    url = talking.base_url.copy_with(raw_path=path.encode())
    reply = talking.send(talking.build_request(method, url))
    assert reply.status_code == status, reply.text[:300]
    error = reply.json()["error"]
    assert code in (None, error["code"])
    # The path comes back at most in part, and not as something to follow.
    assert len(reply.content) < 4000
    assert not reply.is_redirect
