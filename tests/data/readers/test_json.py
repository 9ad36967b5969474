from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.data.readers.json_file import read_json
from llmwright.data.readers.json_lines import read_json_lines
from llmwright.data.readers.record import ReadRequest, Record, Rejection

Reader = Callable[..., list[Any]]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def run(value: Any, **settings: Any) -> list[Record | Rejection]:
        path = tmp_path / "a.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return list(read_json(ReadRequest(path, "a.json", "utf-8", lambda _: None, **settings)))

    return run


def test_list_nested_list_and_bare_texts(read: Reader) -> None:
    assert [r.values for r in read([{"a": 1}, {"a": 2}])] == [{"a": 1}, {"a": 2}]
    assert read({"version": 1, "data": {"items": [{"a": 1}]}})[0].values == {"a": 1}
    assert read({"notes": ["x"], "rows": [{"a": 1}]})[0].values == {"a": 1}
    assert read(["one", 2])[0].values == {"text": "one"}
    assert read(["one", 2])[1].reason == "type"


def test_json_path_walks_through_lists(read: Reader) -> None:
    value = {"volumes": [{"poems": [{"t": 1}, {"t": 2}]}, {"poems": [{"t": 3}]}]}
    rows = read(value, json_path="volumes.poems")
    assert [row.values["t"] for row in rows] == [1, 2, 3]
    assert [row.number for row in rows] == [1, 2, 3]
    with pytest.raises(ConfigError, match=r'DATA-019.*"poem".*"poems"'):
        read(value, json_path="volumes.poem")


def test_each_problem_has_its_error(read: Reader) -> None:
    with pytest.raises(InputError, match=r"DATA-017.*line 2, column 1"):
        read('[{"a": 1},\n')
    with pytest.raises(InputError, match="DATA-018.*first, second"):
        read({"first": [{"a": 1}], "second": [{"a": 1}]})
    with pytest.raises(InputError, match="DATA-014"):
        read([])


def test_nan_is_no_value(read: Reader) -> None:
    assert read('[{"a": NaN, "b": Infinity}]')[0].values == {"a": None, "b": float("inf")}


def test_json_lines_reject_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        '{"text": "a"}',
        "",
        "{broken",
        "[1]",
        '{"text": "' + "x" * 999 + '"}',
        '{"text": "b"}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    ask = ReadRequest(path, "a.jsonl", "utf-8", lambda _: None, max_record_bytes=100)
    items = list(read_json_lines(ask))
    reasons = [item.reason if isinstance(item, Rejection) else "" for item in items]
    assert reasons == ["", "json", "type", "too_large", ""]
    assert [(i.number, i.line) for i in items] == [(1, 1), (2, 3), (3, 4), (4, 5), (5, 6)]
