from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.data.records import Dataset, DatasetInfo


def test_rows_come_back_as_they_were(bench: Any) -> None:
    answer = '{"role": "assistant", "content": "é"}'
    rows = [f'{{"messages": [{{"role": "user", "content": "q{i}"}}, {answer}]}}' for i in range(20)]
    dataset = bench.dataset(bench.write("a.jsonl", "\n".join(rows)))
    assert dataset.splits == ("train", "validation", "test")
    assert dataset.rows("train")[0] == {
        "messages": [{"role": "user", "content": "q0"}, {"role": "assistant", "content": "é"}],
        "learn": [False, True],
        "source": "a.jsonl",
        "row": 1,
    }
    assert dataset.frame("test").height == dataset.info.counts["test"] == 2


def test_wrong_folder_and_missing_split(bench: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="DATA-001"):
        Dataset.open(tmp_path)
    content = "text\n" + "".join(f"line number {i}\n" for i in range(20))
    dataset = bench.dataset(bench.write("a.csv", content), split={"test": 0})
    with pytest.raises(ConfigError, match=r"DATA-002.*test.*train, validation"):
        dataset.rows("test")


def test_info_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="surprise"):
        DatasetInfo.model_validate(
            {"task": "seq2seq", "row_type": "pair", "shape": "pair", "fields": {}, "surprise": 1}
        )
