"""Files of rows as users ask for them: the command, pipes, tables, a kill at any moment."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.inference.test_predict import read_csv, read_jsonl, write_jsonl

from llmwright.cli.main import invoke
from llmwright.core.artifacts import Store
from llmwright.core.errors import InputError
from llmwright.inference.predict import predict_file
from llmwright.inference.predictor import Predictor

Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]


def test_the_command_says_what_was_left_and_what_failed(
    saved: Saved,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Store(tmp_path / ".llmwright").draft("model") as draft:
        shutil.copytree(saved("classifier"), draft.path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in.txt"
    source.write_text("text;id\nfine;1\nrain;2\n", encoding="utf-16")
    assert draft.artifact is not None
    words = ["predict", "--file", "in.txt", "--out", "out.csv", "--model", draft.artifact.id]
    words += ["--format", "csv", "--encoding", "utf-16", "--delimiter", ";", "--header"]
    assert invoke(words) == 0
    assert [row["id"] for row in read_csv(tmp_path / "out.csv")] == ["1", "2"]
    capsys.readouterr()
    assert invoke(words) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    source.write_text("text;id\nfine;1\n;2\n", encoding="utf-16")
    (tmp_path / "out.csv").unlink()
    assert invoke(words) == 0
    assert "1 of 2 rows have no answer. The first is row 2" in capsys.readouterr().err
    assert invoke([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] == 1
    (tmp_path / "out.csv").unlink()
    assert invoke([*words, "--strict"]) == 1
    assert "INFER-063" in capsys.readouterr().err
    assert [row["id"] for row in read_csv(tmp_path / "out.csv")] == ["1"]


def test_strict_keeps_what_was_before_and_goes_on_once_corrected(
    saved: Saved, tmp_path: Path
) -> None:
    predictor, out = Predictor.open(saved("classifier")), tmp_path / "out.jsonl"
    rows: list[Any] = [{"text": f"rain {i}"} for i in range(20)]
    source = write_jsonl(tmp_path / "in.jsonl", [*rows[:13], {"text": " "}, *rows[14:]])
    with pytest.raises(InputError, match="Row 14") as caught:
        predict_file(predictor, source, out, batch_size=2, strict=True)
    assert caught.value.code == "INFER-063"
    assert len(read_jsonl(out)) == 13
    write_jsonl(source, rows)
    done = predict_file(predictor, source, out, batch_size=2, strict=True)
    assert (done["count"], done["skipped"], done["failed"]) == (20, 13, 0)


def test_columns_may_have_other_names(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("classifier"))
    source, out = tmp_path / "in.csv", tmp_path / "out.tsv"
    source.write_text("id,review,text\n1,rain,x\n2,sun,y\n")
    predict_file(predictor, source, out, columns={"text": "review"})
    with out.open(newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t"))
    assert [row["review"] for row in found] == ["rain", "sun"]
    expected = predictor.predict([{"text": "rain"}, {"text": "sun"}])
    assert [row["answer"] for row in found] == [answer["label"] for answer in expected]
    # Which column was read decides the answers.
    with pytest.raises(InputError, match="INFER-026"):
        predict_file(predictor, source, out)
    with pytest.raises(InputError, match="revew") as caught:
        predict_file(predictor, source, tmp_path / "b.csv", columns={"text": "revew"})
    assert caught.value.code == "INFER-064"


@pytest.mark.parametrize("name", ["classifier", "embedder"])
def test_a_parquet_table_is_made_once_all_rows_are_there(
    name: str, saved: Saved, tmp_path: Path
) -> None:
    predictor = Predictor.open(saved(name))
    source, out = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text("id,text\n" + "".join(f"{i},rain {i}\n" for i in range(9)) + "9,\n")
    done = predict_file(predictor, source, out, batch_size=1)
    assert (done["count"], done["failed"]) == (10, 1)
    table = pl.read_parquet(out)
    assert table.columns == ["id", "text", "answer", "score", "note"]
    assert table["answer"].null_count() == 1
    assert "TASK-003" in table["note"][9]
    if name == "embedder":
        assert np.allclose(table["answer"][3].to_list(), predictor.embed(["rain 3"])[0], atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "in.csv", "out.parquet", "out.parquet.origin.json",
    ]  # fmt: skip
    assert predict_file(predictor, source, out)["skipped"] == 10
    source.write_text("id,text\n1,other\n")
    with pytest.raises(InputError, match="INFER-026"):
        predict_file(predictor, source, out)


@pytest.mark.slow
def test_rows_and_answers_go_through_pipes(saved: Saved, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmwright.cli", "predict", "--file", "-", "--format", "csv"]
    command += ["--model", str(saved("classifier")), "--project", str(tmp_path)]
    rows = "text,id\nrain,1\nsun,2\n"
    run = subprocess.run(command, input=rows.encode(), capture_output=True, check=True)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["1", "2"]
    assert all(line["answer"]["label"] in ("cold", "rain", "sun") for line in lines)


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_killed_at_any_moment_the_same_command_goes_on(
    suffix: str, saved: Saved, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    write_jsonl(source, [{"text": f"rain, wind\n{i}" * (1 + i % 5), "i": i} for i in range(700)])
    whole, broken = tmp_path / f"whole{suffix}", tmp_path / f"broken{suffix}"
    predictor = Predictor.open(saved("classifier"))
    predict_file(predictor, source, whole, batch_size=2)
    command = [sys.executable, "-m", "llmwright.cli", "predict", "--file", str(source)]
    command += ["--out", str(broken), "--model", str(saved("classifier")), "--batch-size", "2"]
    command += ["--project", str(tmp_path)]
    grows = broken if suffix != ".parquet" else tmp_path / f"broken{suffix}.partial.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if grows.is_file() and grows.stat().st_size > 5_000:
            process.kill()
            break
        time.sleep(0.002)
    process.wait()
    assert process.returncode == -9
    done = predict_file(predictor, source, broken, batch_size=2)
    assert done["count"] == 700
    assert 0 < done["skipped"] < 700
    if suffix == ".parquet":
        assert pl.read_parquet(broken).equals(pl.read_parquet(whole))
    else:
        assert broken.read_bytes() == whole.read_bytes()
