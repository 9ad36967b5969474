"""Judged answers: rows that cannot teach a preference are refused, each with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.errors import InputError
from llmwright.data.records import Dataset
from llmwright.tasks.judged import served
from llmwright.tasks.make_contract import task_of

ASK = {"role": "user", "content": "q"}


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"question {i}", "chosen": f"good {i}", "rejected": f"bad {i}", **more}
        for i in range(count)
    ]


def lines(found: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(row) for row in found)


def test_missing_and_identical_answers_are_rejected_with_their_reason(bench) -> None:
    found = rows(40)
    found[3]["rejected"] = found[3]["chosen"]
    found[5]["chosen"] = ""
    dataset = bench.dataset(bench.write("a.jsonl", lines(found)))
    assert dataset.info.reasons == {"identical": 1, "missing": 1}
    entries = [json.loads(x) for x in (dataset.path / "rejected.jsonl").read_text().splitlines()]
    assert [(e["row"], e["reason"]) for e in entries] == [(4, "identical"), (6, "missing")]
    assert sum(dataset.info.counts.values()) == 38


def test_scores_tell_which_rows_are_swapped(bench) -> None:
    found = rows(40, score_chosen=8.0, score_rejected=3)
    found[7] |= {"score_chosen": 2, "score_rejected": 9.5}
    found[8] |= {"score_chosen": None}
    found[9] |= {"score_chosen": 3}
    dataset = bench.dataset(bench.write("a.jsonl", lines(found)))
    assert dataset.info.reasons == {"swapped": 1}
    (entry,) = [json.loads(x) for x in (dataset.path / "rejected.jsonl").read_text().splitlines()]
    assert (entry["row"], entry["detail"]) == (8, "chosen has the score 2, rejected 9.5")
    assert set(dataset.info.fields) == {"prompt", "chosen", "rejected"}


def test_columns_the_wrong_way_round_are_one_error(bench) -> None:
    found = rows(40, chosen_score=1, rejected_score=4)
    bench.write("a.jsonl", lines(found))
    with pytest.raises(InputError, match="In 40 of 40 rows") as error:
        bench.dataset("a.jsonl")
    assert error.value.code == "DATA-050"
    assert "a.jsonl, record 5 …" in error.value.message
    turned = {"chosen": "rejected", "rejected": "chosen"}
    turned |= {"chosen_score": "rejected_score", "rejected_score": "chosen_score"}
    dataset = bench.dataset("a.jsonl", columns={"prompt": "prompt", **turned})
    assert dataset.rows("train")[0]["chosen"].startswith("bad")


def test_a_column_of_the_whole_conversation_does_not_hide_the_rivals(bench) -> None:
    # As UltraFeedback has it.
    answers = [{**ASK}, {"role": "assistant", "content": "yes"}]
    other = [{**ASK}, {"role": "assistant", "content": "no"}]
    found = rows(20, messages=answers) + [
        {"prompt": "q", "chosen": answers, "rejected": other, "messages": answers}
    ]
    dataset = bench.dataset(bench.write("a.jsonl", lines(found)))
    assert dataset.info.shape == "preference"


@pytest.mark.parametrize("name", ["dpo_en_demo.json", "kto_en_demo.json"])
def test_real_judged_rows_are_for_a_model_that_writes(
    real: Callable[..., Dataset], llmwright_data: Path, name: str
) -> None:
    dataset = real(f"llama_factory/{name}")
    assert task_of(served(dataset.info)).name == "text-generation"
    assert "warning" not in {getattr(e, "level", "") for e in real.bench.events}  # type: ignore
