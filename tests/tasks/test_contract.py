"""A contract that cannot be read is said, whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.core.errors import InputError
from llmwright.tasks.contract import Contract


@pytest.mark.parametrize(
    "content", [b"", b"{broken", b"\xff\xfe\x00", b"[]", b'{"task": "seq2seq"}', b'{"tusk": 1}']
)
def test_a_damaged_contract_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        Contract.open(tmp_path)
    assert error.value.code == "TASK-014"
