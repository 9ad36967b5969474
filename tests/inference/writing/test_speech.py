"""Where a text ends: at stop strings, and at the end of a sentence once it is long enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from llmwright.inference.predictor import Predictor
from llmwright.inference.writing.generation import FinishReason, Token
from llmwright.inference.writing.sampling import Settings
from llmwright.inference.writing.speech import Said, Speech, sentence_end

NO_LOGITS = np.zeros(0)


def speak(texts: Sequence[str], settings: Settings, last: FinishReason = "length") -> list[Said]:
    """Push texts as one token each until the speech ends."""
    raw = Tokenizer(models.WordLevel({text: i for i, text in enumerate(dict.fromkeys(texts))}))
    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw)
    speech = Speech(tokenizer, settings)
    found = []
    for place, text in enumerate(texts):
        reason = last if place == len(texts) - 1 else None
        index = tokenizer.convert_tokens_to_ids(text)
        found.append(speech.push(Token(0, index, reason, NO_LOGITS), text))
        if found[-1].finish_reason:
            break
    return found


def words(said: list[Said]) -> str:
    return "".join(piece.text for piece in said)


@pytest.mark.parametrize(
    ("texts", "stops", "expected", "reason"),
    [
        (["one ", "two ", "three"], (), "one two three", "length"),
        (["one ", "two ", "three"], ("two",), "one ", "stop"),
        (["one t", "w", "o three"], ("two",), "one ", "stop"),
        (["one t", "w", "elve"], ("two",), "one twelve", "length"),
        (["aa", "ab"], ("aab",), "a", "stop"),
        (["a#", "b#"], ("##", "b"), "a#", "stop"),
        (["ends with t"], ("two",), "ends with t", "length"),
        (["stop at once"], ("stop",), "", "stop"),
    ],
)
def test_text_ends_before_the_first_stop_string(
    texts: list[str], stops: tuple[str, ...], expected: str, reason: str
) -> None:
    found = speak(texts, Settings(stop=stops))
    assert words(found) == expected
    assert found[-1].finish_reason == reason
    assert all(piece.finish_reason is None for piece in found[:-1])


def test_nothing_is_held_back_that_cannot_begin_a_stop_string() -> None:
    found = speak(["one", "two", "three"], Settings(stop=("x",)))
    assert [piece.text for piece in found] == ["one", "two", "three"]


def test_tokens_come_out_with_their_characters_and_a_stop_strings_do_not() -> None:
    found = speak(["one t", "w", "elve tw", "o"], Settings(stop=("two",)))
    assert [piece.text for piece in found] == ["one ", "", "twelve ", ""]
    assert [[t for t, _ in piece.tokens] for piece in found] == [
        ["one t"],
        [],
        ["w", "elve tw"],
        [],
    ]
    assert [note for piece in found for _, note in piece.tokens] == ["one t", "w", "elve tw"]


def test_a_stop_string_counts_from_the_fewest_tokens_on() -> None:
    settings = Settings(stop=("b",), min_new_tokens=3)
    assert words(speak(["a", "b", "a", "b", "a"], settings)) == "aba"


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("It rains. It snows.", 0, "It rains."),
        ("It rains. It snows. ", 9, "It rains."),
        ("It rains. It snows. ", 10, "It rains. It snows."),
        ('He said "no." Then', 0, 'He said "no."'),
        ("Pi is 3.14 about. Yes", 0, "Pi is 3.14 about."),
        ("Mr. Smith and J. Doe came. Yes", 0, "Mr. Smith and J. Doe came."),
        ("1. Bread and milk. More", 0, "1. Bread and milk."),
        ("Really?! Yes", 0, "Really?!"),
        ("白日依山尽，黄河入海流。欲穷", 0, "白日依山尽，黄河入海流。"),
        ("他说：“好。”然后", 0, "他说：“好。”"),
        ("A line\nand one\n\nmore", 0, "A line\nand one"),
        ("nothing ends", 0, None),
        ("It rains.", 0, None),
        ("流。", 0, None),
    ],
)
def test_sentences_end_as_readers_see_it(text: str, start: int, expected: str | None) -> None:
    end = sentence_end(text, start)
    assert (None if end is None else text[:end]) == expected


def test_a_text_stops_with_its_sentence_once_it_is_long_enough() -> None:
    texts = ["A", " b", ".", " C", " d", ".", " E", " f", "."]
    short = speak(texts, Settings(end_sentence_after=2))
    assert (words(short), short[-1].finish_reason) == ("A b.", "stop")
    # The fourth token begins a sentence, which is written to its end.
    longer = speak(texts, Settings(end_sentence_after=4))
    assert (words(longer), longer[-1].finish_reason) == ("A b. C d.", "stop")
    exact = speak(texts, Settings(end_sentence_after=3))
    assert words(exact) == "A b."
    assert [note for piece in exact for _, note in piece.tokens] == ["A", " b", "."]
    assert words(speak(texts, Settings(end_sentence_after=99))) == "".join(texts)


def test_files_and_streams_end_alike(saved: Callable[[str], Path]) -> None:
    predictor = Predictor.open(saved("decoder"))
    row = predictor.read("The weather")
    whole = next(predictor.predict([row], max_new_tokens=24))["text"]
    stop = whole[5:7]
    asked = {"max_new_tokens": 24, "stop": (stop,)}
    answer = next(predictor.predict([row], **asked))
    assert answer == {"text": whole[: whole.index(stop)], "finish_reason": "stop"}
    assert "".join(predictor.stream(row, **asked)) == answer["text"]
