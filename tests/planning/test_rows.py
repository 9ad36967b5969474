"""Rows are shown as the model sees them: what it reads, what it learns, where it stops."""

from __future__ import annotations

from typing import Any

import numpy as np

import llmwright
from llmwright.planning.rows import StopCheck, last_learned
from llmwright.tasks.task import IGNORE, Example


def planned(root: Any) -> dict[str, Any]:
    return llmwright.plan(root, measure=False)["train"]


def texts(pieces: list[dict[str, Any]], learned: bool) -> str:
    return "".join(piece["text"] for piece in pieces if piece["learned"] is learned)


def test_of_a_pair_the_completion_is_learned(project: Any) -> None:
    rows = [{"input": f"two times {n} is ", "target": str(2 * n)} for n in range(30)]
    body = planned(project(rows, "text-generation"))
    for row in body["samples"]:
        assert texts(row["read"], False).endswith(" is ")
        number = int(texts(row["read"], False).split()[-2])
        assert texts(row["read"], True) == f"{2 * number}<eos>"
        assert row["num_learned"] == len(str(2 * number)) + 1
    assert body["stops"]["passed"]
    assert body["stops"]["tokens"] == ["<eos>"]


def test_of_a_pair_of_answers_both_are_shown(project: Any) -> None:
    rows = [{"prompt": f"p{n}? ", "chosen": f"yes{n}", "rejected": f"no{n}"} for n in range(30)]
    root = project(rows, "text-generation")
    row = planned(root)["samples"][0]
    assert texts(row["read"], True) == "yes0<eos>"
    assert texts(row["rejected"], True) == "no0<eos>"
    assert texts(row["rejected"], False) == texts(row["read"], False)
    pieces = [*row["read"], *row["rejected"]]
    assert row["num_tokens"] == sum(piece["num_tokens"] for piece in pieces)
    assert row["num_learned"] == len("yes0") + len("no0") + 2
    # A reward model reads both, and predicts no token of either.
    scored = llmwright.plan(root, measure=False, overrides={"train.objective": "reward"})
    (first, *_) = scored["train"]["samples"]
    assert texts(first["rejected"], False).endswith("no0<eos>\n")
    assert first["num_learned"] == 0


def test_an_answer_with_a_flag_says_which(project: Any) -> None:
    rows = [{"prompt": f"p{n}? ", "completion": f"a{n}", "label": n % 2 == 0} for n in range(30)]
    row = planned(project(rows, "text-generation"))["samples"][0]
    assert (row["answer"], row["rejected"]) == ("a good answer", [])


def test_of_masked_text_the_hidden_tokens_are_learned(project: Any) -> None:
    rows = [{"text": f"the sun sets over the hill on day {n}"} for n in range(30)]
    body = planned(project(rows, "text-generation", objective="masked_lm"))
    for row in body["samples"]:
        length = sum(piece["num_tokens"] for piece in row["read"])
        assert 0 < row["num_learned"] < 0.3 * length
        for pieces in (row["read"], row["target"]):
            learned = sum(piece["num_tokens"] for piece in pieces if piece["learned"])
            assert learned == row["num_learned"]
        assert row["num_tokens"] == length
    assert "mask" in "".join(texts(row["read"], True) for row in body["samples"]).lower()


def test_of_plain_text_all_is_learned(project: Any) -> None:
    rows = [{"text": f"the sun sets on day {n}"} for n in range(30)]
    body = planned(project(rows, "text-generation"))
    # One stream: the end of the text before foretells the beginning, too.
    assert texts(body["samples"][0]["read"], True) == "<bos>the sun sets on day 0<eos>"
    assert texts(body["samples"][0]["read"], False) == ""
    assert body["stops"]["answers"] == body["rows"]


def test_a_seq2seq_target_stands_by_itself(project: Any) -> None:
    rows = [{"input": f"row {n}", "target": f"{n} wor"} for n in range(30)]
    row = planned(project(rows, "seq2seq"))["samples"][0]
    assert texts(row["read"], False).startswith("row ")
    assert texts(row["target"], True).endswith(" wor<eos>")
    assert row["num_learned"] == sum(piece["num_tokens"] for piece in row["target"])


def test_labels_and_tags_are_named(project: Any) -> None:
    rows = [{"text": f"film {n}", "label": "good" if n % 2 else "bad"} for n in range(30)]
    body = planned(project(rows, "text-classification"))
    assert {row["answer"] for row in body["samples"]} <= {"good", "bad"}
    assert body["stops"] is None
    assert body["samples"][0]["num_learned"] == 1


def test_tags_of_words(project: Any) -> None:
    rows = [{"tokens": ["Ann", "saw", f"Rome{n}"], "tags": ["PER", "O", "LOC"]} for n in range(30)]
    row = planned(project(rows, "token-classification"))["samples"][0]
    assert row["answer"].split()[:2] == ["PER", "O"]
    assert row["num_learned"] == 3


def test_an_answer_that_was_cut_has_no_stop_token(project: Any) -> None:
    rows = [{"input": "say: ", "target": "a" * (5 if n else 60)} for n in range(30)]
    body = planned(project(rows, "text-generation", max_length=24))
    stops = body["stops"]
    assert stops["passed"]
    assert (stops["without_stop"], stops["cut"]) == (1, 1)
    assert "rows.jsonl:1" in stops["first"]
    assert any(row["truncated"] for row in body["samples"])


def test_each_answer_of_a_conversation_has_its_end() -> None:
    ids_T = np.arange(8)
    labels_T = np.array([IGNORE, 1, 2, IGNORE, IGNORE, 5, 6, IGNORE])
    assert list(last_learned(Example(ids_T, labels_T))) == [2, 6]


def test_one_answer_without_its_end_is_a_fault_where_the_row_is_whole() -> None:
    whole = StopCheck(["<eos>"], True, answers=1000, without_stop=1, cut=0)
    assert not whole.passed
    assert StopCheck(["<eos>"], True, answers=1000, without_stop=1, cut=1).passed
    assert not StopCheck(["<eos>"], True, answers=2, without_stop=2, cut=2).passed
