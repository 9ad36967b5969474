"""Odd names, damaged files and hostile texts: one clear error, or the work is done in good time."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.core.events import Progress
from llmwright.data import intake as taking
from llmwright.data.cleaners import HtmlCleaner
from llmwright.data.config import PrepareConfig
from llmwright.data.readers.delimited import read_csv
from llmwright.data.readers.record import ReadRequest, Record
from llmwright.data.records import Dataset
from llmwright.data.report import Report
from llmwright.data.sources import find_files

Bench = Any
TABLE = "text,label\n" + "".join(f"text number {i},l{i % 2}\n" for i in range(60))


# ---- names ---------------------------------------------------------------------------------------


def test_a_project_folder_may_be_called_like_a_glob(bench: Bench) -> None:
    bench.root /= "p [v2]"
    bench.root.mkdir()
    bench.write("data/a[1].csv", TABLE)
    (bench.root / "data" / "b?.csv").write_text(TABLE.replace("text n", "more n"))
    whole = str(bench.root / "data" / "*.csv")
    for source in ("data/*.csv", "data", ["data/a[1].csv", "data/b?.csv"], whole):
        assert sum(bench.dataset(source).info.counts.values()) == 120
    pl.read_csv(TABLE.encode()).write_parquet(bench.root / "a*.parquet")
    dataset = bench.dataset("a*.parquet")
    assert len(dataset.rows("train")) == dataset.info.counts["train"] == 48
    assert len(list(dataset.stream("train", ["text"], [0, 47]))) == 2


def test_a_home_of_nobody_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="DATA-010"):
        find_files("~nosuchuser/a.csv", tmp_path)


def test_the_hint_for_a_path_is_in_the_users_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.csv").write_text("x")
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    with pytest.raises(InputError) as info:
        find_files("tran.csv", tmp_path)
    assert "train.csv" in info.value.message
    assert "Did you mean" not in info.value.message


# ---- damaged files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "settings", "code"),
    [
        ("empty.txt", b"", {"encoding": "utf-8"}, "DATA-013"),
        ("feeds.txt", "\f\n\u3000\n".encode(), {}, "DATA-013"),
        ("empty.csv", b" \n", {"encoding": "gb18030"}, "DATA-013"),
        ("digits.json", b'[{"a": ' + b"9" * 5000 + b"}]", {}, "DATA-017"),
        ("digits.jsonl", b'{"text": ' + b"9" * 5000 + b"}\n", {}, "DATA-040"),
        ("deep", b'{"a":' * 10_000 + b"\n", {}, "DATA-017"),
        ("deep.jsonl", b'{"a":' * 100_000 + b"\n", {}, "DATA-040"),
        ("cut.csv.gz", gzip.compress(TABLE.encode() * 9)[:-20], {}, "DATA-025"),
        ("bad.csv.gz", gzip.compress(TABLE.encode())[:30] + b"x" * 99, {}, "DATA-025"),
    ],
)
def test_damaged_files_have_one_clear_error(
    bench: Bench, name: str, content: bytes, settings: dict[str, Any], code: str
) -> None:
    with pytest.raises(InputError) as info:
        bench.dataset(bench.write(name, content), **settings)
    assert info.value.code == code


@pytest.mark.parametrize("content", ['{"broken', '{"task": "chess"}', "[]", b"\xff\xfe\x00"])
def test_a_damaged_or_foreign_dataset_folder(tmp_path: Path, content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "dataset.json").write_bytes(raw)
    with pytest.raises(InputError, match="DATA-001"):
        Dataset.open(tmp_path)


def test_a_damaged_split_file(bench: Bench) -> None:
    dataset = bench.dataset(bench.write("a.csv", TABLE))
    (dataset.path / "train.parquet").chmod(0o644)
    (dataset.path / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="DATA-020"):
        dataset.rows("train")
    with pytest.raises(InputError, match="DATA-020"):
        list(dataset.stream("train", ["text"]))


# ---- time and memory -----------------------------------------------------------------------------


def test_a_cell_of_many_quoted_lines_is_read_once(tmp_path: Path) -> None:
    cell = 'She said ""yes"" and went on.\n' * 40_000
    (tmp_path / "a.csv").write_text(f'text,label\n"{cell}",a\nplain,b\n', encoding="utf-8")
    ask = ReadRequest(
        tmp_path / "a.csv", "a.csv", "utf-8", lambda _: None, ",", quoted=True, header=True
    )
    start = time.monotonic()
    items = list(read_csv(ask))
    assert time.monotonic() - start < 3
    assert isinstance(items[0], Record)
    assert items[0].values == {"text": cell.replace('""', '"'), "label": "a"}
    assert items[1].line == 40_003


@pytest.mark.parametrize(
    "piece", ["<!--", "<script ", "<script>", "<style>", "<br ", "<a ", "</script ", "<", "&#9"]
)
def test_hostile_markup_is_cleaned_in_good_time(piece: str) -> None:
    start = time.monotonic()
    HtmlCleaner().clean(piece * (300_000 // len(piece)))
    assert time.monotonic() - start < 1


def test_blocks_of_markup_and_endless_references() -> None:
    clean = HtmlCleaner().clean
    assert clean("a<!-- <b> -->b<STYLE x=1>p {}</style >c<!-- open") == "abc<!-- open"
    assert clean("<script>1</script>x<script>2</script>y<script>z") == "xyz"
    assert clean("a &#" + "9" * 5000 + "; b &#65;") == "a \ufffd b A"


def intake_of(bench: Bench, source: Any, **settings: Any) -> tuple[Any, Report]:
    config = PrepareConfig(source=source, **settings)
    report = Report(bench.root / "rejected.jsonl")
    return taking.Intake(config, bench.root, lambda _: None), report


def test_rejections_before_the_first_record_are_not_held(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "_HELD_ITEMS", 50)
    broken, good = "{broken\n" * 300, '{"text": "a"}\n'
    intake, report = intake_of(bench, bench.write("a.jsonl", broken + good + broken + good))
    assert intake.sample(report) == [{"text": "a"}]
    assert report.rejected.total() == 300
    assert [item.number for _, item in intake] == list(range(301, 603))
    report.__exit__()


def test_the_sample_is_let_go_of(bench: Bench) -> None:
    import gc
    import weakref

    class Text(str):
        __slots__ = ("__weakref__",)

    intake, report = intake_of(bench, bench.write("a.jsonl", '{"text": "a"}\n' * 700))
    intake.sample(report)
    seen = []
    for number, (_, item) in enumerate(intake):
        if number == 0:
            item.values["text"] = Text("a")
            seen.append(weakref.ref(item.values["text"]))
        del item
    gc.collect()
    assert seen[0]() is None
    report.__exit__()


def test_progress_says_how_much_of_the_files_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmwright.data import prepare as preparing

    monkeypatch.setattr(preparing, "_PROGRESS_ROWS", 500)
    lines = "".join(f"text number {i} {'x' * 400},l{i % 2}\n" for i in range(5000))
    bench.write("a.csv", "text,label\n" + lines)
    bench.write("b.csv.gz", gzip.compress(("text,label\n" + lines.replace("x", "y")).encode()))
    bench.dataset(["a.csv", "b.csv.gz"])
    total = sum((bench.root / name).stat().st_size for name in ("a.csv", "b.csv.gz")) / 1e6
    told = [e for e in bench.events if isinstance(e, Progress) and e.stage == "prepare"]
    done = [e.done for e in told]
    assert {e.total for e in told} == {total}
    assert done == sorted(done)
    assert 0.2 * total < done[4] < 0.8 * total
    assert done[-1] == pytest.approx(total, rel=0.01)


def test_group_is_asked_of_every_table_and_blank_is_none(bench: Bench) -> None:
    rows = "".join(f"text number {i},l{i % 2},{'g' if i < 20 else ' '}\n" for i in range(120))
    bench.write("a.csv", "text,label,who\n" + rows)
    dataset = bench.dataset("a.csv", split={"group": "who"})
    groups = [{row["group"] for row in dataset.rows(name)} for name in dataset.splits]
    assert dataset.splits == ("train", "validation", "test")
    assert sum("g" in found for found in groups) == 1
    bench.write("b.csv", TABLE)
    with pytest.raises(ConfigError, match=r'DATA-030.*b.csv has no column "who"'):
        bench.dataset(["a.csv", "b.csv"], split={"group": "who"})


def test_max_rows_counts_for_each_given_split(bench: Bench) -> None:
    bench.write("train.csv", TABLE)
    bench.write("train2.csv", TABLE.replace("text n", "more n"))
    bench.write("test.csv", TABLE.replace("text n", "other n"))
    source = {"train": ["train.csv", "train2.csv"], "test": "test.csv"}
    dataset = bench.dataset(source, max_rows=40, split={"validation": 0})
    assert dataset.info.counts == {"train": 40, "test": 40}
    dataset = bench.dataset(source, max_rows=70, split={"validation": 0})
    assert dataset.info.counts == {"train": 70, "test": 60}


def test_messages_hold_no_english_in_chinese(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    with pytest.raises(InputError) as info:
        bench.dataset(bench.write("a.csv", "text,label\nno label,\n" + "a,b\n" * 9))
    assert "缺少值" in info.value.message
    assert "is empty" not in info.value.message
    with pytest.raises(InputError) as info:
        bench.dataset(bench.write("deep.json", b"[" * 100_000))
    assert "嵌套过深" in info.value.message


def test_files_of_given_splits_are_named_when_they_do_not_fit(bench: Bench) -> None:
    bench.write("a.csv", TABLE)
    bench.write("b.json", '[{"text": "a", "label": "x"}]')
    with pytest.raises(InputError, match=r"DATA-012.*a\.csv, b\.json mixes"):
        bench.dataset({"train": "a.csv", "test": "b.json"})


def test_several_labels_in_a_few_lines_make_all_rows_lists(bench: Bench) -> None:
    lines = [f"__label__{'ab'[i % 2]} text number {i}\n" for i in range(100)]
    lines[60] = "__label__a __label__b both of them\n"
    dataset = bench.dataset(bench.write("a.txt", "".join(lines)))
    assert dataset.info.multi_label
    assert dataset.info.num_rejected == 0
    assert sum(dataset.info.counts.values()) == 100


def test_one_label_and_none_can_be_learnt(bench: Bench) -> None:
    rows = [{"text": f"t {i}", "labels": ["a"] * (i % 2)} for i in range(60)]
    assert bench.dataset(bench.write("a.json", json.dumps(rows))).info.labels == ["a"]
    same = [{"text": f"t {i}", "labels": ["a", "b"]} for i in range(60)]
    with pytest.raises(InputError, match=r"DATA-042.*a, b"):
        bench.dataset(bench.write("b.json", json.dumps(same)))
