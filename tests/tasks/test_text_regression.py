"""A number goes in and comes out in the user's unit, whatever the model works with."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.data.records import Numbers
from llmwright.tasks.task import Output

NUMBERS = Numbers(mean=300.0, std=50.0, min=200, max=400)


def test_numbers_are_standardised_and_come_back(make) -> None:
    task, tokenizer, contract = make("text-regression", "regression", frame="cls_sep")
    contract = contract.model_copy(update={"numbers": NUMBERS})
    rows = [{"text": "the cat", "value": 375.0}, {"text": "the dog sat", "value": 275.0}]
    examples = [task.encode(row, tokenizer, contract) for row in rows]
    batch = task.collate(examples, contract)
    assert batch["labels"].dtype == np.float32
    assert batch["labels"].tolist() == [1.5, -0.5]
    assert all(task.has_target(example) for example in examples)
    for row, label in zip(rows, batch["labels"], strict=True):
        answer = task.answer(Output(logits=np.array([label])), row, tokenizer, contract)
        assert answer == {"value": row["value"]}
        assert task.reference(row) == row["value"]


def test_two_texts_and_a_missing_number(make) -> None:
    fields = {"text": "first", "text_pair": "second", "value": "score"}
    task, tokenizer, contract = make(
        "text-regression", "regression", frame="cls_sep", fields=fields
    )
    row = task.read({"first": "the cat", "second": "the dog"}, contract)
    example = task.encode_input(row, tokenizer, contract)
    assert example.token_type_ids_T is not None
    assert example.token_type_ids_T.max() == 1
    with pytest.raises(InputError, match='"score"'):
        task.encode(row, tokenizer, contract)
