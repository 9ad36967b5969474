"""A conversation is read for its score as a pair of answers was read in training."""

from __future__ import annotations

import numpy as np
import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.preference import Pairs
from llmwright.tasks.task import Output

ROW = {
    "prompt": [{"role": "user", "content": "the cat sat on the mat, and the dog said"}],
    "chosen": "no way",
    "rejected": "ok",
}


@pytest.mark.parametrize("limit", [200, 30, 12])
def test_inference_reads_what_training_read(make, limit: int) -> None:
    task, tokenizer, contract = make(
        "text-generation", "preference", makes="reward", max_length=limit
    )
    trained = Pairs().encode(ROW, tokenizer, contract)
    asked = task.encode_input(task.input_of(ROW, contract), tokenizer, contract)
    assert (asked.input_ids_T == trained.input_ids_T).all()
    assert asked.labels is None
    assert asked.truncated == (limit < 200)


def test_what_is_scored_ends_with_an_answer(make) -> None:
    task, tokenizer, contract = make("text-generation", "preference", makes="reward")
    row = task.read({"prompt": "the cat", "answer": "sat"}, contract)
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    answer = task.answer(Output(logits=np.array([1.25])), row, tokenizer, contract)
    assert answer == {"score": 1.25}
    with pytest.raises(InputError, match="TASK-022"):
        task.read({"messages": row["messages"][:1]}, contract)
    with pytest.raises(InputError, match="TASK-003"):
        task.read({"prompt": "the cat"}, contract)


def test_a_probe_ends_with_an_answer(make) -> None:
    task, _, contract = make("text-generation", "preference", makes="reward")
    turn = {"role": "user", "content": "the cat"}
    posed = task.posed({"messages": [turn]}, contract)
    assert task.read(posed, contract) == posed
    assert posed["messages"][0] == turn
    assert task.posed(posed, contract) == posed
