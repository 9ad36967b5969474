from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from llmwright.core.artifacts import check
from llmwright.core.errors import ConfigError, InputError, LLMwrightError, ResourceError
from llmwright.data.content import input_key
from llmwright.data.records import Dataset

Bench = Any
Real = Callable[..., Dataset]


def table(count: int = 100, labels: int = 2) -> str:
    rows = "".join(f"this is text number {i},label{i % labels}\n" for i in range(count))
    return "text,label\n" + rows


def rejected(dataset: Dataset) -> list[dict[str, Any]]:
    lines = (dataset.path / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def no_question_twice(dataset: Dataset) -> bool:
    keys = [{input_key(row) for row in dataset.rows(name)} for name in dataset.splits]
    return sum(map(len, keys)) == len(set().union(*keys))


# ---- real data -----------------------------------------------------------------------------------


def test_banking77(real: Real) -> None:
    dataset = real({"train": "banking77/train.csv", "test": "banking77/test.csv"})
    info = dataset.info
    assert (info.task, info.row_type) == ("text-classification", "classification")
    assert info.fields == {"text": "text", "label": "category"}
    assert len(info.labels) == 77
    assert info.labels == sorted(info.labels)
    assert info.counts["test"] == 3080
    assert info.counts["train"] + info.counts["validation"] == 10_003
    train = Counter(row["label"] for row in dataset.rows("train"))
    held = Counter(row["label"] for row in dataset.rows("validation"))
    assert all(abs(held[x] / (held[x] + train[x]) - 0.1) < 0.03 for x in info.labels)


def test_single_table_never_splits_a_question(real: Real) -> None:
    dataset = real("sms_spam/sms.tsv")
    assert sum(dataset.info.counts.values()) == 5574
    assert no_question_twice(dataset)
    spam = [Counter(row["label"] for row in dataset.rows(name))["spam"] for name in dataset.splits]
    shares = [s / dataset.info.counts[n] for s, n in zip(spam, dataset.splits, strict=True)]
    assert shares == pytest.approx([747 / 5574] * 3, abs=0.01)


def test_dedupe_removes_the_403_duplicates_and_lists_them(real: Real) -> None:
    dataset = real("sms_spam/sms.tsv", clean=["dedupe"])
    assert (dataset.info.num_removed, dataset.info.num_rejected) == (403, 0)
    assert dataset.info.reasons == {"duplicate": 403}
    assert dataset.info.preprocessing == []
    assert sum(dataset.info.counts.values()) == 5574 - 403
    listed = rejected(dataset)
    assert len(listed) == 403
    assert not any(entry["counted"] for entry in listed)


def test_goemotions_with_names_for_its_numbers(real: Real, llmwright_data: Any) -> None:
    names = (llmwright_data / "goemotions" / "labels.txt").read_text(encoding="utf-8").split()
    source = "goemotions/train_10k.tsv"
    with pytest.raises(InputError, match="DATA-036"):
        real(source)
    dataset = real(source, label_separator=",", label_names=names)
    assert dataset.info.multi_label
    assert dataset.info.labels == sorted(names)
    counts = [
        Counter(x for row in dataset.rows(name) for x in row["labels"]) for name in dataset.splits
    ]
    # Even the rarest emotion is in every split, in about its share.
    assert all(counts[1][name] and counts[2][name] for name in names)


def test_stsb_has_no_header_and_may_be_something_else(real: Real) -> None:
    assert real("stsb/stsb-zh-dev.csv").info.task == "text-regression"
    dataset = real("stsb/stsb-zh-dev.csv", columns={"input": "column_1", "target": "column_2"})
    assert dataset.info.task == "seq2seq"
    assert dataset.info.fields == {"input": "input", "target": "target"}
    assert sum(dataset.info.counts.values()) == 1500
    assert no_question_twice(dataset)


def test_trec_in_latin_1(real: Real) -> None:
    dataset = real("trec/TREC.train.all", format="labelled")
    assert dataset.info.sources[0].encoding == "latin-1"
    assert len(dataset.info.labels) == 6
    texts = [row["text"] for name in dataset.splits for row in dataset.rows(name)]
    assert sum(not text.isascii() for text in texts) == 1


def test_sst2_folder_tells_its_splits_by_name(real: Real) -> None:
    dataset = real("sst2")
    assert dataset.info.counts == {"train": 6920, "validation": 872}
    assert dataset.info.split["method"] == "given"
    assert "dev.tsv → validation" in real.bench.said()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "shape", "row_type", "count"),
    [
        ("alpaca_zh_demo.json", "alpaca", "messages", 1000),
        ("glaive_toolcall_en_demo.json", "sharegpt", "messages", 300),
        ("v1_sft_demo.jsonl", "openai", "messages", 500),
        ("dpo_zh_demo.json", "preference", "preference", 300),
        ("v1_dpo_demo.jsonl", "preference", "preference", 10),
        ("kto_en_demo.json", "kto", "flag", 300),
        ("c4_demo.jsonl", "documents", "text", 300),
    ],
)
def test_instruction_and_preference_rows(
    real: Real, name: str, shape: str, row_type: str, count: int
) -> None:
    info = real("llama_factory/" + name).info
    assert (info.shape, info.row_type, info.task) == (shape, row_type, "text-generation")
    assert sum(info.counts.values()) + info.num_rejected == count
    assert info.num_rejected <= 0.02 * count


@pytest.mark.parametrize(
    ("source", "settings", "labels"),
    [
        ("wnut17/wnut17train.conll", {}, 13),
        ("wikiann_en", {}, 7),
        ("ud_en_ewt", {}, 17),
        ("ud_zh_gsdsimp", {"columns": {"tokens": "tokens", "tags": "upos"}}, 16),
        ("peopledaily_ner/dev_2k.txt", {}, 7),
    ],
)
def test_tagged_sentences(real: Real, source: str, settings: dict[str, Any], labels: int) -> None:
    dataset = real(source, **settings)
    assert dataset.info.task == "token-classification"
    assert len(dataset.info.labels) == labels
    row = dataset.rows("train")[0]
    assert len(row["tokens"]) == len(row["tags"])


def test_poems(real: Real) -> None:
    dataset = real("chinese_poetry/songci_300.json")
    assert dataset.info.fields == {"text": "paragraphs"}
    assert "\n" in dataset.rows("train")[0]["text"]
    with pytest.raises(InputError, match="DATA-033"):
        real("chinese_poetry/tangshi_300.json")
    essays = real(
        "chinese_poetry/guwenguanzhi.json",
        json_path="content.content",
        columns={"text": "paragraphs"},
    )
    assert sum(essays.info.counts.values()) == 222


def test_one_long_text_is_cut_in_order(real: Real) -> None:
    split = {"validation": 0.1, "test": 0}
    dataset = real("tiny_shakespeare/input.txt", split=split)
    assert dataset.splits == ("train", "validation")
    parts = [dataset.rows(name)[0]["text"] for name in dataset.splits]
    assert len(parts[0]) == int(0.9 * 1_115_394)
    assert len(parts[0]) + len(parts[1]) == 1_115_394


def test_novel_by_lines(real: Real) -> None:
    dataset = real("xiyouji/xiyouji.txt", document="line", clean=["whitespace", "dedupe"])
    assert no_question_twice(dataset)
    texts = [row["text"] for row in dataset.rows("train")]
    assert len(texts) == len(set(texts))
    assert not any(text.startswith((" ", "\u3000")) or "\r" in text for text in texts)
    assert dataset.info.preprocessing == [{"kind": "whitespace"}]


# ---- the artifact --------------------------------------------------------------------------------


def test_same_input_and_config_give_the_same_bytes(bench: Bench) -> None:
    source = bench.write("a.csv", table(25_000, labels=7))
    settings = {"clean": ["unicode", "dedupe"], "split": {"seed": 3}}
    first = bench.artifact(source, **settings)
    contents = {p.name: p.read_bytes() for p in first.path.iterdir() if p.name != "manifest.json"}
    check(first)
    bench.root.joinpath(".llmwright").rename(bench.root / "old")
    second = bench.artifact(source, **settings)
    assert second.id == first.id
    assert contents == {
        p.name: p.read_bytes() for p in second.path.iterdir() if p.name != "manifest.json"
    }
    other = bench.artifact(source, **{**settings, "split": {"seed": 4}})
    assert other.id != first.id


def test_rows_keep_order_source_and_number(bench: Bench) -> None:
    dataset = bench.dataset(bench.write("in/a.csv", table(50)), split={"validation": 0, "test": 0})
    rows = dataset.rows("train")
    assert [row["row"] for row in rows] == list(range(1, 51))
    assert {row["source"] for row in rows} == {"in/a.csv"}
    assert list(rows[0]) == ["text", "label", "source", "row"]
    assert dataset.frame("train").schema["row"] == pl.Int64


def test_group_is_held_out_whole(bench: Bench) -> None:
    phrases = [phrase for phrase in "abcdefghijklmnopqrst" for _ in range(9)]
    lines = [f"{phrase} number {i},answer {i},{phrase}" for i, phrase in enumerate(phrases)]
    source = bench.write("a.csv", "input,target,phrase\n" + "\n".join(lines))
    dataset = bench.dataset(source, split={"group": "phrase"})
    groups = [{row["group"] for row in dataset.rows(name)} for name in dataset.splits]
    assert [len(found) for found in groups] == [16, 2, 2]
    assert sum(map(len, groups)) == 20


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gb18030"])
@pytest.mark.parametrize("pack", [False, True])
def test_encodings_end_in_the_same_rows(bench: Bench, encoding: str, pack: bool) -> None:
    text = "描述\t天气\n" + "".join(f"今天第{i}次天气很好\t今天天气晴朗\n" for i in range(50))
    content = text.encode(encoding)
    name = "a.tsv.gz" if pack else "a.tsv"
    source = bench.write(name, gzip.compress(content) if pack else content)
    dataset = bench.dataset(source, columns={"input": "描述", "target": "天气"})
    rows = [row for split in dataset.splits for row in dataset.rows(split)]
    assert sorted(row["row"] for row in rows) == list(range(1, 51))
    assert {row["target"] for row in rows} == {"今天天气晴朗"}


def test_parquet_comes_in_as_it_went_out(bench: Bench) -> None:
    frame = pl.DataFrame({"tokens": [["a", "b"]] * 20, "tags": [["X", "O"]] * 20})
    frame.write_parquet(bench.root / "a.parquet")
    dataset = bench.dataset("a.parquet")
    assert dataset.info.row_type == "tags"
    assert dataset.info.sources[0].format == "parquet"
    (bench.root / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="DATA-020"):
        bench.dataset("bad.parquet")


def test_labels_that_are_nan_are_missing(bench: Bench) -> None:
    rows = [{"text": f"t{i}", "label": float("nan") if i % 20 == 0 else i % 2} for i in range(60)]
    pl.DataFrame(rows, strict=False).write_parquet(bench.root / "a.parquet")
    content = "".join(json.dumps(row) + "\n" for row in rows)
    (bench.root / "b.jsonl").write_text(content, encoding="utf-8")
    for name in ("a.parquet", "b.jsonl"):
        info = bench.dataset(name).info
        assert info.reasons == {"missing": 3}
        assert "NaN" not in info.labels


def test_max_rows_and_unused_columns(bench: Bench) -> None:
    content = "text,label,id\n" + "".join(f"text {i},l{i % 2},{i}\n" for i in range(100))
    dataset = bench.dataset(bench.write("a.csv", content), max_rows=40)
    assert sum(dataset.info.counts.values()) == dataset.info.num_records == 40
    assert "not used: id" in bench.said()


# ---- bad input -----------------------------------------------------------------------------------


def test_rejections_are_listed_with_reason_and_place(bench: Bench) -> None:
    head, *lines = table(200).splitlines()
    lines[9] = "bad \udcff bytes,label1"
    lines[19] = "nul \x00 here,label1"
    lines[29] = "too,many,cells"
    lines[39] = "no label,"
    lines[49] = "x" * 50_000 + ",label0"
    # A cell with two lines moves all later line numbers by one, but no record number.
    lines[24] = '"two\nlines",label0'
    text = "\n".join([head, "é one,label0", *lines])
    source = bench.write("a.csv", text.encode("utf-8", "surrogateescape"))
    dataset = bench.dataset(source, max_record_bytes=10_000)
    found = [(e["row"], e["line"], e["reason"]) for e in rejected(dataset)]
    assert found == [
        (11, 12, "undecodable"),
        (21, 22, "nul"),
        (31, 33, "columns"),
        (41, 43, "missing"),
        (51, 53, "too_large"),
    ]
    assert all(e["counted"] and e["source"] == "a.csv" for e in rejected(dataset))
    assert dataset.info.num_rejected == 5
    assert dataset.info.num_records == 201
    assert dataset.info.reasons == dict.fromkeys(
        ["undecodable", "nul", "columns", "too_large", "missing"], 1
    )
    assert "5 of 201 records were rejected" in bench.said()


def test_too_many_rejections_stop_with_the_report_at_hand(bench: Bench) -> None:
    source = bench.write("a.csv", table(94) + "only one cell\n" * 6)
    with pytest.raises(
        InputError, match=r"DATA-040.*6 of 100.*6\.0%.*5\.0%.*columns \(6\)"
    ) as info:
        bench.dataset(source)
    report = info.value.values["report"]
    assert len(report.read_text(encoding="utf-8").splitlines()) == 6  # type: ignore[attr-defined]
    assert not list(bench.root.glob(".llmwright/artifacts/*/*"))
    assert bench.dataset(source, max_rejected=0.06).info.num_rejected == 6


def test_rows_that_a_cleaner_removes_do_not_count(bench: Bench) -> None:
    source = bench.write("a.csv", "text,label\n" + "same text,a\n" * 90 + "other text,b\n" * 10)
    dataset = bench.dataset(source, clean=["dedupe"], max_rejected=0)
    assert dataset.info.num_removed == 98
    with pytest.raises(InputError, match=r"DATA-041.*too_short \(100\)"):
        bench.dataset(source, clean=[{"kind": "length", "min": 50}])


def test_leaking_rows_are_removed_from_training_when_asked(bench: Bench) -> None:
    bench.write("train.csv", table(50))
    bench.write("test.csv", "text,label\nThis is  text number 7,label1\nnew one,label0\n")
    source = {"train": "train.csv", "test": "test.csv"}
    split = {"validation": 0.0, "leaks": "remove"}
    dataset = bench.dataset(source, split=split)
    assert dataset.info.counts == {"train": 49, "test": 2}
    assert [(e["row"], e["reason"]) for e in rejected(dataset)] == [(8, "leak")]
    kept = bench.dataset(source, split={"validation": 0.0})
    assert kept.info.counts == {"train": 50, "test": 2}
    assert "1 training rows also occur" in bench.said()


def test_a_50_mb_line_is_one_rejection(bench: Bench) -> None:
    rows = "".join(f'{{"text": "row {i}"}}\n' for i in range(100))
    source = bench.write("a.jsonl", rows + '{"text": "' + "x" * 50_000_000 + '"}\n' + rows)
    dataset = bench.dataset(source)
    assert [(e["row"], e["reason"]) for e in rejected(dataset)] == [(101, "too_large")]
    assert len(rejected(dataset)[0]["record"]) <= 200


@pytest.mark.parametrize(
    ("name", "content", "settings", "code"),
    [
        ("empty.csv", b"", {}, "DATA-013"),
        ("empty.txt", b"\n \n", {}, "DATA-013"),
        ("header.csv", b"text,label\n", {}, "DATA-014"),
        ("list.json", b"[]", {}, "DATA-014"),
        ("noise.csv", bytes((i * 7919 + i * i * 31) % 256 for i in range(9999)), {}, "DATA-015"),
        ("cut.json", b'[{"text": "a"}, {', {}, "DATA-017"),
        ("huge.txt", b"x" * 100_000, {"max_record_bytes": 1000}, "DATA-021"),
        ("only.jsonl", b"x" * 100_000, {"max_record_bytes": 1000}, "DATA-040"),
        ("nul.jsonl", b'{"text": "a\\u0000b"}\n', {}, "DATA-040"),
        ("ok.csv", table().encode(), {"columns": {"text": "txt", "label": "label"}}, "DATA-030"),
        ("ok.csv", table().encode(), {"encoding": "utf-99"}, "DATA-016"),
        ("ok.csv", table().encode(), {"formatt": "csv"}, "CORE-040"),
        ("ok.csv", table().encode(), {"clean": ["htlm"]}, "CORE-041"),
        ("ok.csv", table().encode(), {"split": {"test": 0.6, "validation": 0.5}}, "CORE-041"),
        ("one.csv", table(labels=1).encode(), {}, "DATA-042"),
    ],
)
def test_each_bad_input_has_one_clear_error(
    bench: Bench, name: str, content: bytes, settings: dict[str, Any], code: str
) -> None:
    with pytest.raises(LLMwrightError) as info:
        bench.dataset(bench.write(name, content), **settings)
    assert info.value.code == code
    assert info.value.fix
    assert info.value.exit_code == (2 if isinstance(info.value, ConfigError) else 1)


def test_unseen_label_and_mixed_formats(bench: Bench) -> None:
    bench.write("d/one.csv", table())
    bench.write("d/two.json", '[{"text": "a", "label": "x"}]')
    with pytest.raises(InputError, match="DATA-012.*csv, json"):
        bench.dataset("d")
    bench.write("new.csv", "text,label\nsomething new,label9\n")
    with pytest.raises(InputError, match="DATA-043.*label9"):
        bench.dataset({"train": "d/one.csv", "test": "new.csv"})


def test_second_file_without_the_column_is_named(bench: Bench) -> None:
    bench.write("a.csv", table())
    bench.write("b.csv", table().replace("label\n", "lable\n", 1))
    with pytest.raises(ConfigError, match=r'DATA-030.*b.csv has no column "label".*"lable"'):
        bench.dataset(["a.csv", "b.csv"])


def test_a_full_disk_is_one_clear_error_and_leaves_no_artifact(bench: Bench) -> None:
    source = bench.write("a.csv", table(30_000))
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(ResourceError, match="CORE-020"):
            bench.dataset(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(bench.root.glob(".llmwright/*/*"))
    assert not (bench.root / ".run" / "spool").exists()
    assert bench.dataset(source).info.num_records == 30_000


def test_the_only_training_text_is_cut_beside_a_given_test_text(bench: Bench) -> None:
    text = "".join(chr(0x4E00 + i % 3000) for i in range(10_000))
    source = {"train": bench.write("a.txt", text), "test": bench.write("b.txt", "another text")}
    dataset = bench.dataset(source)
    parts = {name: [row["text"] for row in dataset.rows(name)] for name in dataset.splits}
    assert parts == {
        "train": [text[:9000]], "validation": [text[9000:]], "test": ["another text"]
    }  # fmt: skip
    assert dataset.info.split["method"] == "sequential"
    assert "all of them train" not in bench.said()
    random = bench.dataset(source, split={"method": "random"})
    assert random.info.counts == {"train": 1, "test": 1}
    assert "a share for validation" in bench.said()
    assert "document: paragraph" in bench.said()
    assert bench.dataset("b.txt", split={"validation": 0, "test": 0}).splits == ("train",)
    assert bench.dataset(bench.write("c.txt", "x")).rows("train")[0]["text"] == "x"
