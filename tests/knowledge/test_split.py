from __future__ import annotations

import time

import pytest

from llmwright.knowledge.split import sentences, split
from llmwright.knowledge.words import size_of


def cut(text: str, most: int = 20, overlap: int = 0) -> list[str]:
    spans = split(text, 0, len(text), most, overlap)
    return [text[span.start : span.end] for span in spans]


def test_small_paragraphs_share_a_passage_and_large_ones_do_not() -> None:
    text = "One two.\n\nThree.\n\n" + "Four five six seven eight nine. " * 2 + "\n\nTen."
    assert cut(text) == [
        "One two.\n\nThree.",
        "Four five six seven eight nine. Four five six seven eight nine. \n\nTen.",
    ]


def test_a_long_paragraph_is_cut_at_sentences_that_come_again() -> None:
    text = "第一句说明防守。第二句说明进攻。第三句说明比分！第四句说明结果。"
    assert cut(text, most=20) == [
        "第一句说明防守。第二句说明进攻。",
        "第三句说明比分！第四句说明结果。",
    ]
    assert cut(text, most=20, overlap=8) == [
        "第一句说明防守。第二句说明进攻。",
        "第二句说明进攻。第三句说明比分！",
        "第三句说明比分！第四句说明结果。",
    ]


def test_nothing_is_lost_and_nothing_is_too_long() -> None:
    text = "".join(
        f"Sentence {i}, with a part; and 又一部分，{'字' * (i % 30)}. " for i in range(80)
    )
    passages = cut(text, most=30)
    assert max(map(size_of, passages)) <= 30
    assert "".join("".join(passages).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["a" * 300, "字" * 300, "." * 300, "a,b " * 100])
def test_what_has_no_sentences_is_cut_all_the_same(text: str) -> None:
    passages = cut(text)
    assert max(map(size_of, passages)) <= 20
    assert "".join("".join(passages).split()) == "".join(text.split())


def test_only_white_space_has_no_passage() -> None:
    assert cut(" \n\n \t\n") == []


@pytest.mark.parametrize("sign", [".", "!", "\n ", "\n-", "…", " ", "1.", "\n1"])
def test_time_stays_in_proportion(sign: str) -> None:
    def seconds(count: int) -> float:
        started = time.process_time()
        cut(sign * count, most=200, overlap=40)
        return time.process_time() - started

    seconds(1000)
    assert seconds(64_000) < 40 * max(seconds(8_000), 0.01)


def test_sentences_of_both_languages() -> None:
    assert sentences('He said "no." Then left. 他走了。真的？') == [
        'He said "no."',
        "Then left.",
        "他走了。",
        "真的？",
    ]
    # No sentence ends within a number.
    assert sentences("It costs 3.50 dollars. Cheap.") == ["It costs 3.50 dollars.", "Cheap."]
