"""Personal data that must not travel with a model; and texts that must stay as they are."""

from __future__ import annotations

import pytest

from llmwright.inference.proof.redact import is_personal, redact, redact_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann.b+c@mail.example.org now", "write to <email> now"),
        ("请发邮件到zhang@example.com谢谢", "请发邮件到<email>谢谢"),
        ("call 13812345678", "call <phone>"),
        ("电话：138 1234 5678。", "电话：<phone>。"),
        ("+86 13812345678", "<phone>"),
        ("+44 20 7946 0958 please", "<phone> please"),
        ("(415) 555-2671", "<phone>"),
        ("身份证11010519491231002X有效", "身份证<id>有效"),
        ("card 4111 1111 1111 1111, ok", "card <card>, ok"),
        ("from 192.168.0.12:8080", "from <ip>:8080"),
        ("host fe80:0:0:1:2:3:4:5 up", "host <ip> up"),
        ("see https://me:secret@host.example/path x", "see <url> x"),
        ("https://host.example/a?api_key=12345", "<url>"),
        ("我的电话是13812345678吗", "我的电话是<phone>吗"),
        ("致电010-12345678即可", "致电<phone>即可"),
        ("网址https://a.cn/x?token=abc", "网址<url>"),
        ("主机fe80:0:0:1:2:3:4:5正常", "主机<ip>正常"),
    ],
)
def test_personal_data_is_replaced(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好，气温 23.5 度，降水 2024 年最多。",
        "version 1.2.3 at 12:30:45 on 2024-05-06",
        "order 4111111111111112 is no card",
        "https://example.org/weather?city=Berlin",
        "1,234,567 rows, 300.300.300.300 is no address",
        "He said: 'see section 3.1.2'.",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text


def test_values_keep_their_shape() -> None:
    row = {"messages": [{"role": "user", "content": "I am a@b.example"}], "n": 3}
    found = redact_value(row)
    assert found == {"messages": [{"role": "user", "content": "I am <email>"}], "n": 3}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (list("电话13812345678。"), True),
        (["+1", "555", "123", "4567"], True),
        (["call", "ann@mail", ".example"], True),
        (["Ada", "lives", "in", "London", "since", "1999"], False),
    ],
)
def test_tokens_are_read_together(tokens: list[str], expected: bool) -> None:
    assert is_personal(tokens) is expected
