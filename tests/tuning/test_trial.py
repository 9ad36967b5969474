"""A trial is judged by its evaluations, whoever made them."""

from __future__ import annotations

import pytest

from llmwright.core.events import EventFile, Metric
from llmwright.tuning.trial import Evaluations, Pruned


def test_what_was_to_be_pruned_before_a_kill_is_pruned_after_it(tmp_path) -> None:
    path = tmp_path / "events.jsonl"
    with EventFile(path) as kept:
        for step, value in ((10, 2.0), (20, 9.0)):
            kept(Metric("loss", value, step, "validation"))
    asked = []

    def judge(number: int, value: float) -> bool:
        asked.append((number, value))
        return value > 5

    with pytest.raises(Pruned):
        Evaluations("loss", judge, path)
    assert asked == [(1, 2.0), (2, 9.0)]
    # What it was allowed to go on after is not judged again.
    Evaluations("loss", lambda number, _: number == 1, path)
