"""A contract that cannot be read is said, whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.data.records import DatasetInfo
from llmwright.tasks.contract import Contract
from llmwright.tasks.judged import conversation
from llmwright.tasks.make_contract import task_of


@pytest.mark.parametrize(
    "content", [b"", b"{broken", b"\xff\xfe\x00", b"[]", b'{"task": "seq2seq"}', b'{"tusk": 1}']
)
def test_a_damaged_contract_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        Contract.open(tmp_path)
    assert error.value.code == "TASK-014"


def test_rows_that_a_task_cannot_learn_from_are_said() -> None:
    info = DatasetInfo(task="seq2seq", row_type="messages", shape="openai", fields={})
    with pytest.raises(ConfigError, match="TASK-004.*messages"):
        task_of(info)
    assert task_of(info.model_copy(update={"row_type": "pair"})).name == "seq2seq"


@pytest.mark.parametrize("row_type", ["preference", "flag"])
def test_judged_rows_make_a_model_that_holds_conversations(make, row_type: str) -> None:
    task, tokenizer, contract = make("text-generation", row_type, fields={"prompt": "ask"})
    assert (contract.row_type, contract.fields) == ("messages", {"messages": "messages"})
    assert contract.chat_template_sha256 is not None
    row = {"prompt": [{"role": "user", "content": "the cat"}], "chosen": "sat", "rejected": "no"}
    assert task.input_of(row, contract) == {"messages": row["prompt"]}
    example = task.encode(conversation(row, "chosen"), tokenizer, contract)
    learned = example.labels[example.labels >= 0]
    assert tokenizer.decode(learned) == "sat<eos>"
