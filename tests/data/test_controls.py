"""Columns that say how an answer is to be: kept beside the row, and few of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmwright.core.errors import ConfigError, InputError


def lines(count: int, **more: Any) -> str:
    rows = [
        {"input": f"in {i}", "target": f"out {i}", "tone": ["formal", "casual", ""][i % 3]}
        | {name: value(i) if callable(value) else value for name, value in more.items()}
        for i in range(count)
    ]
    return "\n".join(map(json.dumps, rows))


def test_rows_keep_their_style(bench) -> None:
    bench.write("a.jsonl", lines(60, size=lambda i: i % 2))
    dataset = bench.dataset("a.jsonl", controls=["tone", "size"])
    assert dataset.info.controls == {"size": ["0", "1"], "tone": ["casual", "formal"]}
    assert "tone" not in dataset.info.fields
    styles = {json.dumps(row["controls"]) for row in dataset.rows("train")}
    assert '{"size": "0", "tone": null}' in styles
    assert len(styles) == 6
    assert "not used" not in bench.said()


@pytest.mark.parametrize(
    ("code", "settings", "more"),
    [
        ("DATA-030", {"controls": ["tones"]}, {}),
        ("DATA-053", {"controls": ["target"]}, {}),
        ("DATA-054", {"controls": ["id"]}, {"id": str}),
        ("DATA-055", {"controls": ["note"]}, {"note": ""}),
    ],
)
def test_what_is_no_style_is_refused(bench, code: str, settings: dict, more: dict) -> None:
    bench.write("a.jsonl", lines(90, **more))
    with pytest.raises((InputError, ConfigError)) as error:
        bench.dataset("a.jsonl", **settings)
    assert error.value.code == code


def test_labels_have_no_style(bench) -> None:
    rows = [{"text": f"t {i}", "label": "ab"[i % 2], "tone": "x"} for i in range(20)]
    bench.write("a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(ConfigError, match="DATA-052"):
        bench.dataset("a.jsonl", controls=["tone"])


def test_a_style_that_training_lacks_is_said(bench) -> None:
    bench.write("a.jsonl", lines(30))
    bench.write("b.jsonl", lines(3, tone="rude"))
    files = {"train": "a.jsonl", "test": "b.jsonl"}
    dataset = bench.dataset(files, controls=["tone"])
    assert dataset.info.controls == {"tone": ["casual", "formal"]}
    assert "rude" in bench.said()


def test_judged_answers_may_have_a_style(bench) -> None:
    rows = [
        {"prompt": f"q {i}", "chosen": "a", "rejected": "b", "tone": "xy"[i % 2]} for i in range(20)
    ]
    bench.write("a.jsonl", "\n".join(map(json.dumps, rows)))
    dataset = bench.dataset("a.jsonl", controls=["tone"])
    assert dataset.info.row_type == "preference"
    assert dataset.info.controls == {"tone": ["x", "y"]}
