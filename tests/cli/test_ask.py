"""What predict does with its words, before any model is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.cli.ask import _row


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("text", "--out", "a.jsonl"),
        ("text", "--file", "data.csv"),
        ("--out", "a.jsonl"),
        ("text", "--header"),
    ],
    ids=" ".join,
)
def test_what_would_be_dropped_is_refused(project: Path, llmwright, words: tuple[str, ...]) -> None:
    said = llmwright("predict", *words, "--json")
    assert (said.code, said.error) == (2, "CLI-002")


@pytest.mark.parametrize(
    ("words", "row"),
    [
        (("text=a=b",), {"text": "a=b"}),
        (("描述=今天天气很好", "n_1=2"), {"描述": "今天天气很好", "n_1": "2"}),
        (("1+1=2 is true",), "1+1=2 is true"),
        (("a b=c",), "a b=c"),
        (("two", "words"), "two words"),
        (("text=a", "b"), "text=a b"),
    ],
)
def test_only_names_stand_before_the_sign(words: tuple[str, ...], row: object) -> None:
    assert _row(words) == row
