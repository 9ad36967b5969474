"""The target ends with one end token, and the decoder reads it one place later."""

from __future__ import annotations

import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.contract import Contract
from llmwright.tasks.task import IGNORE


@pytest.mark.parametrize("frame", ["eos", "none", "bos_eos"])
def test_target_ends_with_one_end_token(make, frame) -> None:
    task, tokenizer, contract = make("seq2seq", "pair", frame=frame)
    example = task.encode({"input": "the", "target": "cat"}, tokenizer, contract)
    assert example.labels.tolist().count(tokenizer.eos_token_id) == 1
    assert example.labels[-1] == tokenizer.eos_token_id
    assert task.num_tokens(example) == len(example.input_ids_T) + len(example.labels)


def test_decoder_reads_the_labels_one_place_later(make) -> None:
    task, tokenizer, contract = make("seq2seq", "pair", frame="eos")
    rows = [{"input": "the", "target": "cat"}, {"input": "on", "target": "a"}]
    batch = task.collate([task.encode(row, tokenizer, contract) for row in rows], contract)
    start, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    c, a, t, eos = tokenizer("cat").input_ids
    assert batch["labels"].tolist() == [[c, a, t, eos], [a, eos, IGNORE, IGNORE]]
    assert batch["decoder_input_ids"].tolist() == [[start, c, a, t], [start, a, eos, pad]]


def test_long_targets_are_cut(make) -> None:
    task, tokenizer, contract = make("seq2seq", "pair", frame="eos", max_target_length=4)
    example = task.encode({"input": "the", "target": "0123456789"}, tokenizer, contract)
    assert tokenizer.decode(example.labels) == "0123"
    assert example.truncated


def test_a_tokenizer_without_end_token_is_refused(make) -> None:
    task, tokenizer, contract = make("seq2seq", "pair")
    tokenizer.eos_token = None
    with pytest.raises(InputError) as caught:
        task.encode({"input": "the", "target": "cat"}, tokenizer, contract)
    assert caught.value.code == "TASK-008"


def test_contract_survives_the_disk(make, tmp_path) -> None:
    _, _, contract = make("seq2seq", "pair", frame="eos", max_target_length=32)
    contract.save(tmp_path)
    assert Contract.open(tmp_path) == contract
    (tmp_path / "contract.json").unlink()
    with pytest.raises(InputError) as caught:
        Contract.open(tmp_path)
    assert caught.value.code == "TASK-001"
