from __future__ import annotations

import pytest

from llmwright.knowledge.words import is_chinese, size_of, words


def test_both_languages_in_one_text() -> None:
    found = words("How does 黑豹队 beat Denver’s ＮＦＬ team?")
    assert {"beat", "denver", "nfl", "team", "黑豹", "黑"} <= set(found)
    assert not {"how", "does", "?"} & set(found)


def test_chinese_words_come_with_their_parts() -> None:
    # A question says 大学, the passage 清华大学.
    assert set(words("清华大学")) & set(words("哪所大学")) >= {"大学"}


def test_numbers_stay_and_encoded_files_do_not() -> None:
    assert words("308 points in 2015") == ["308", "points", "2015"]
    assert words("x" * 65) == []


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        ("黑豹队的防守丢了多少分？", True),
        ("NFL 的全称是什么", True),
        ("What is 汉字?", False),
        ("the word 好 means good and nothing else at all", False),
        ("1234", False),
    ],
)
def test_language(text: str, chinese: bool) -> None:
    assert is_chinese(text) is chinese


def test_a_chinese_character_takes_as_much_as_four_others() -> None:
    assert size_of("防守") == 2
    assert size_of("abcdefgh") == 2
    assert size_of("防守 abc") == 3
