"""A contract that cannot be read is said, whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.data.records import DatasetInfo
from llmwright.tasks.contract import Contract
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
    info = DatasetInfo(task="text-generation", row_type="preference", shape="preference", fields={})
    with pytest.raises(ConfigError, match="TASK-004.*preference"):
        task_of(info)
    assert task_of(info.model_copy(update={"row_type": "messages"})).name == "text-generation"
