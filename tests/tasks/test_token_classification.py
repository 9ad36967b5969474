"""Tags sit on the first piece of each word, and come back one per word."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.task import IGNORE, Output

FRAME = {"frame": "cls_sep", "labels": ["O", "LOC"], "kind": "bpe"}
ROW = {"tokens": ["the", "cat", "Rome"], "tags": ["O", "O", "LOC"]}


def test_first_pieces_carry_the_tags(make) -> None:
    task, tokenizer, contract = make("token-classification", "tags", **FRAME)
    example = task.encode(ROW, tokenizer, contract)
    firsts = np.flatnonzero(example.labels != IGNORE)
    assert [contract.labels[i] for i in example.labels[firsts]] == ROW["tags"]
    assert example.word_ids_T[firsts].tolist() == [0, 1, 2]
    # Some words have several pieces, else this would prove nothing.
    assert len(example.input_ids_T) > 5
    assert example.word_ids_T[0] == example.word_ids_T[-1] == -1


def test_answer_is_one_tag_per_word(make) -> None:
    task, tokenizer, contract = make("token-classification", "tags", **FRAME)
    example = task.encode(ROW, tokenizer, contract)
    logits = np.zeros((len(example.input_ids_T), 2), dtype=np.float32)
    for position in np.flatnonzero(example.labels != IGNORE):
        logits[position, example.labels[position]] = 3.0
    # What other pieces say does not count.
    logits[example.labels == IGNORE, 0] = 9.0
    answer = task.answer(Output(logits=logits), ROW, tokenizer, contract)
    assert answer["tokens"] == ROW["tokens"]
    assert answer["tags"] == ROW["tags"] == task.reference(ROW)
    assert answer["scores"][2] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-5)


def test_words_cut_away_still_have_a_tag(make) -> None:
    task, tokenizer, contract = make("token-classification", "tags", max_length=4, **FRAME)
    example = task.encode(ROW, tokenizer, contract)
    assert example.truncated
    logits = np.ones((4, 2), dtype=np.float32)
    answer = task.answer(Output(logits=logits), ROW, tokenizer, contract)
    assert len(answer["tags"]) == 3
    assert answer["scores"][2] == 0.0
    assert answer["tags"][2] == "O"


def test_a_text_is_cut_into_words_or_characters(make) -> None:
    task, _, contract = make("token-classification", "tags", **FRAME)
    assert task.read({"text": "the cat"}, contract) == {"tokens": ["the", "cat"]}
    characters = contract.model_copy(update={"profile": {"words": "characters"}})
    assert task.read({"tokens": "今天 好"}, characters) == {"tokens": ["今", "天", "好"]}


def test_tokens_and_tags_must_match(make) -> None:
    task, tokenizer, contract = make("token-classification", "tags", **FRAME)
    with pytest.raises(InputError) as caught:
        task.encode({"tokens": ["the"], "tags": ["O", "O"]}, tokenizer, contract)
    assert caught.value.code == "TASK-010"
