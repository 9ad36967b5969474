from __future__ import annotations

import random

import pytest

from llmwright.serving.guards.matching import Matcher, plain


def spans(words: list[str], text: str) -> list[str]:
    found, safe = Matcher(words).scan(text, "", True)
    assert safe == len(text)
    return [text[start:end] for start, end in found]


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("ass", "a class of asses, ass!", ["ass"]),
        ("ass", "Ass", ["Ass"]),
        ("敏感词", "这里有敏感词吗", ["敏感词"]),
        ("赌博", "网络赌博平台", ["赌博"]),
        ("bad word", "a bad \n\t word.", ["bad \n\t word"]),
        ("straße", "die STRASSE hier", ["STRASSE"]),
        ("café", "cafe\u0301 x", ["cafe\u0301"]),
        ("cafe\u0301", "CAFÉ", ["CAFÉ"]),
        ("secret", "ｓｅｃｒｅｔ", ["ｓｅｃｒｅｔ"]),
        ("secret", "se\u200bcr\u00adet", ["se\u200bcr\u00adet"]),
        ("ﬁne", "so FINE", ["FINE"]),
        ("c++", "use c++!", ["c++"]),
        ("한국", "한국은", ["한국"]),
        ("ガス", "ｶﾞｽ", ["ｶﾞｽ"]),
        ("ab", "abc ab_ xab", ["ab"]),
        ("word", "sword words", []),
        ("2024", "12024 2024", ["2024"]),
    ],
)
def test_words_are_found_whatever_their_form(word: str, text: str, found: list[str]) -> None:
    assert spans([word], text) == found


def test_words_inside_of_others_and_overlaps_are_one_place() -> None:
    assert spans(["他妈", "妈的", "他妈的"], "你他妈的好") == ["他妈的"]
    assert spans(["a b", "b c"], "x a b c d") == ["a b c"]


def test_empty_words_count_for_nothing() -> None:
    assert Matcher(["", "  ", "\u200b"]).num_words == 0


@pytest.mark.parametrize("seed", range(30))
def test_a_stream_in_any_pieces_finds_what_the_whole_text_has(seed: int) -> None:
    chance = random.Random(seed)
    alphabet = "ab éE\u0301感敏词\u200b．"
    words = ["ab", "a é", "敏感词", "感敏", "bab", "é"]
    text = "".join(chance.choice(alphabet) for _ in range(60))
    matcher = Matcher(words)
    expected = masked_at(matcher.scan(text, "", True)[0])
    hidden: set[int] = set()
    done, held, before = 0, "", ""
    for start in range(0, len(text), 1 + seed % 4):
        held += text[start : start + 1 + seed % 4]
        found, safe = matcher.scan(held, before, False)
        hidden |= {done + place for place in masked_at(found) if place < safe}
        before = plain(held[:safe], before).text[-1:] or before
        done, held = done + safe, held[safe:]
    hidden |= {done + place for place in masked_at(matcher.scan(held, before, True)[0])}
    # Of two words that overlap the second may pass in part once the first is hidden.
    assert hidden <= expected
    readable = "".join("*" if n in hidden else c for n, c in enumerate(text))
    assert spans(words, readable) == []


def masked_at(found: list[tuple[int, int]]) -> set[int]:
    return {place for start, end in found for place in range(start, end)}


def test_time_grows_with_the_text_alone() -> None:
    # Each of these would take minutes if it were compared place by place, or sorted mark by mark.
    assert spans(["a" * 2000 + "b"], "a" * 30_000) == []
    assert spans(["x"], "e" + "\u0301\u0323" * 20_000) == []
    words = [f"{number:x}" * 5 for number in range(20_000)]
    assert spans(words, "z" * 30_000) == []
