from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmwright.serving.writing import Piece, until_stop


def pieces(texts: Sequence[str], reason: str = "length") -> list[Piece]:
    last = len(texts) - 1
    return [
        Piece(text, 3, index + 1, reason if index == last else None)  # type: ignore[arg-type]
        for index, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("texts", "stops", "expected", "reason"),
    [
        (["one ", "two ", "three"], [], "one two three", "length"),
        (["one ", "two ", "three"], ["two"], "one ", "stop"),
        (["one t", "w", "o three"], ["two"], "one ", "stop"),
        (["one t", "w", "elve"], ["two"], "one twelve", "length"),
        (["aa", "ab"], ["aab"], "a", "stop"),
        (["a#", "b#"], ["##", "b"], "a#", "stop"),
        (["ends with t"], ["two"], "ends with t", "length"),
        (["stop at once"], ["stop"], "", "stop"),
    ],
)
def test_text_ends_before_the_first_stop_string(
    texts: list[str], stops: list[str], expected: str, reason: str
) -> None:
    found = list(until_stop(iter(pieces(texts)), stops))
    assert "".join(piece.text for piece in found) == expected
    assert found[-1].finish_reason == reason
    assert all(piece.finish_reason is None for piece in found[:-1])


def test_nothing_is_held_back_that_cannot_begin_a_stop_string() -> None:
    found = list(until_stop(iter(pieces(["one", "two", "three"])), ["x"]))
    assert [piece.text for piece in found] == ["one", "two", "three"]


def test_stopping_early_asks_for_no_further_token() -> None:
    source = iter(pieces(["one", "two", "three"]))
    list(until_stop(source, ["two"]))
    assert next(source).text == "three"
