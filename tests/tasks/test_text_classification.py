"""Labels become numbers and answers become labels."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.task import Output

FRAME = {"frame": "cls_sep", "labels": ["warm", "cold", "mild"]}


def test_one_label(make) -> None:
    task, tokenizer, contract = make("text-classification", "classification", **FRAME)
    example = task.encode({"text": "the cat", "label": "warm"}, tokenizer, contract)
    assert contract.labels == ["cold", "mild", "warm"]
    assert int(example.labels) == 2
    assert tokenizer.decode(example.input_ids_T) == "<cls>the cat<sep>"
    batch = task.collate([example, example], contract)
    assert batch["labels"].tolist() == [2, 2]
    assert contract.stop_token_ids == []


def test_two_texts_are_parted(make) -> None:
    task, tokenizer, contract = make("text-classification", "classification", **FRAME)
    row = {"text": "the cat", "text_pair": "ok", "label": "warm"}
    example = task.encode(row, tokenizer, contract)
    assert tokenizer.decode(example.input_ids_T) == "<cls>the cat<sep>ok<sep>"
    assert example.token_type_ids_T.tolist() == [0] * 9 + [1] * 3
    short = task.encode({"text": "ok", "text_pair": "no", "label": "cold"}, tokenizer, contract)
    # Only models that have a place for them are given the types; padding counts as first text.
    assert "token_type_ids" not in task.collate([example, short], contract)
    telling = contract.model_copy(update={"token_types": True})
    types_BT = task.collate([short, example], telling)["token_type_ids"]
    assert types_BT.tolist() == [[0] * 4 + [1] * 3 + [0] * 5, [0] * 9 + [1] * 3]


def test_a_long_text_is_cut_inside_its_frame(make) -> None:
    task, tokenizer, contract = make("text-classification", "classification", max_length=6, **FRAME)
    example = task.encode({"text": "0123456789", "label": "warm"}, tokenizer, contract)
    assert tokenizer.decode(example.input_ids_T) == "<cls>0123<sep>"
    assert example.truncated
    # The limit of one text does not stick to the tokenizer.
    assert len(tokenizer("0123456789").input_ids) == 12


def test_answer_of_one_label(make) -> None:
    task, tokenizer, contract = make("text-classification", "classification", **FRAME)
    logits = np.array([0.0, 1.0, 3.0], dtype=np.float32)
    answer = task.answer(Output(logits=logits), {}, tokenizer, contract)
    assert answer["label"] == "warm"
    assert answer["scores"]["mild"] == pytest.approx(np.exp(1) / np.exp([0, 1, 3]).sum(), abs=1e-6)


def test_several_labels(make) -> None:
    task, tokenizer, contract = make(
        "text-classification", "classification", multi_label=True, **FRAME
    )
    row = {"text": "the cat", "labels": ["warm", "cold"]}
    example = task.encode(row, tokenizer, contract)
    assert example.labels.tolist() == [1.0, 0.0, 1.0]
    none = task.encode({"text": "ok", "labels": []}, tokenizer, contract)
    assert none.labels.tolist() == [0.0, 0.0, 0.0]
    logits = np.array([2.0, -1.0, 0.0], dtype=np.float32)
    answer = task.answer(Output(logits=logits), row, tokenizer, contract)
    assert answer["labels"] == ["cold", "warm"]
    assert task.reference(row) == ["cold", "warm"]


def test_an_unknown_label_names_the_closest(make) -> None:
    task, tokenizer, contract = make("text-classification", "classification", **FRAME)
    with pytest.raises(InputError) as caught:
        task.encode({"text": "the cat", "label": "wram"}, tokenizer, contract)
    assert caught.value.code == "TASK-002"
    assert 'Did you mean "warm"?' in caught.value.message


def test_a_missing_text_is_named_as_the_user_calls_it(make) -> None:
    task, tokenizer, contract = make(
        "text-classification", "classification", fields={"text": "review"}, **FRAME
    )
    row = task.read({"review": "ok"}, contract)
    assert task.encode_input(row, tokenizer, contract).input_ids_T.size == 4
    for ask in (
        lambda: task.read({"label": "warm"}, contract),
        lambda: task.encode_input({"label": "warm"}, tokenizer, contract),
    ):
        with pytest.raises(InputError) as caught:
            ask()
        assert caught.value.code == "TASK-003"
        assert '"review"' in caught.value.message
