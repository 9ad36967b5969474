from __future__ import annotations

import pytest

from llmwright.cli.results import metric_rows


def test_metrics_are_called_as_a_gate_calls_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    found = metric_rows({"metrics": {"accuracy": 0.5}, "intervals": {}})
    assert found == [("accuracy", "0.5000", "")]
