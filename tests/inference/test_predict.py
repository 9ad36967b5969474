"""Files of rows: in order, resumable, and never mixed up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.errors import InputError
from llmwright.inference.predict import Done, predict_file, row_of
from llmwright.inference.predictor import Predictor

Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]


def test_each_row_gets_its_answer(saved: Saved, rows_of: Rows, tmp_path: Path) -> None:
    predictor, rows = Predictor.open(saved("classifier")), rows_of("classifier") * 3
    counts: list[int] = []
    out = tmp_path / "deep" / "out.jsonl"
    done = predict_file(predictor, rows, out, batch_size=2, on_progress=counts.append)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert done == Done(15, 0)
    assert counts == [8, 15]
    assert [line["answer"]["label"] for line in lines] == [
        answer["label"] for answer in predictor.predict(rows)
    ]
    assert [line["text"] for line in lines] == [row["text"] for row in rows]


def test_a_broken_off_file_is_continued(saved: Saved, rows_of: Rows, tmp_path: Path) -> None:
    predictor, rows = Predictor.open(saved("classifier")), rows_of("classifier")
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    predict_file(predictor, rows, whole)
    # As a kill leaves it: two lines and a half.
    lines = whole.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    assert predict_file(predictor, rows, part) == Done(5, 2)
    kept = [json.loads(line)["answer"]["label"] for line in part.read_text().splitlines()]
    assert kept == [json.loads(line)["answer"]["label"] for line in whole.read_text().splitlines()]
    assert predict_file(predictor, rows, part) == Done(5, 5)


def test_answers_of_other_rows_are_not_continued(
    saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    predictor, rows = Predictor.open(saved("classifier")), rows_of("classifier")
    out = tmp_path / "out.jsonl"
    predict_file(predictor, rows[:3], out)
    with pytest.raises(InputError) as other:
        predict_file(predictor, rows[1:], out)
    assert other.value.code == "INFER-018"
    out.write_text("no json\n")
    with pytest.raises(InputError) as strange:
        predict_file(predictor, rows, out)
    assert strange.value.code == "INFER-017"


def test_a_bare_text_becomes_the_tasks_row(saved: Saved) -> None:
    def row(name: str) -> dict[str, Any]:
        return row_of("words", Predictor.open(saved(name)))

    assert row("classifier") == {"text": "words"}
    assert row("tagger") == {"text": "words"}
    assert row("seq2seq") == {"input": "words"}
    assert row("decoder") == {"prompt": "words"}
