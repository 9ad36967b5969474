from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.core.errors import InputError
from llmwright.data.readers.delimited import read_csv, read_tsv
from llmwright.data.readers.record import ReadRequest, Record, Rejection


def request(path: Path, content: str | bytes, **settings: object) -> ReadRequest:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return ReadRequest(path, path.name, "utf-8-sig", lambda _: None, **settings)  # type: ignore[arg-type]


def test_quoted_newlines_keep_record_and_line_numbers_right(tmp_path: Path) -> None:
    content = 'text,label\r\n"two\r\nlines, one cell",a\r\nplain,b\r\nx,y,z\r\n'
    items = list(read_csv(request(tmp_path / "a.csv", content)))
    assert [(i.number, i.line) for i in items] == [(1, 2), (2, 4), (3, 5)]
    assert isinstance(items[0], Record)
    assert items[0].values == {"text": "two\r\nlines, one cell", "label": "a"}
    assert isinstance(items[2], Rejection)
    assert items[2].reason == "columns"
    assert items[2].detail == "3 values where 2 are expected"


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = [["text", "label"], *([f"a, b; c {i}", f"l{i % 2}"] for i in range(20))]
    lines = [delimiter.join(f'"{c}"' if delimiter in c else c for c in row) for row in rows]
    items = list(read_csv(request(tmp_path / "a.csv", "\n".join(lines))))
    assert items[3].values == {"text": "a, b; c 3", "label": "l1"}  # type: ignore[union-attr]


def test_the_delimiter_is_named_in_the_users_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    heard: list[str] = []
    content = "text\tlabel\n" + "a b\tx\n" * 5
    path = tmp_path / "a.tsv"
    path.write_text(content, encoding="utf-8")
    list(read_tsv(ReadRequest(path, path.name, "utf-8-sig", heard.append)))
    assert "制表符" in heard[0]


def test_doubled_quotes_are_cells_and_stray_quotes_are_text(tmp_path: Path) -> None:
    quoted = '"say ""hi"" now"\t1\nplain\t2\n' * 5
    items = list(read_tsv(request(tmp_path / "a.tsv", quoted, header=False)))
    assert items[0].values["column_1"] == 'say "hi" now'  # type: ignore[union-attr]
    stray = 'ham\t"Gimme a few" was minutes ago\nspam\tthe 5" disk\nham\tsays "no\n' * 5
    items = list(read_tsv(request(tmp_path / "b.tsv", stray, header=False)))
    assert len(items) == 15
    assert items[0].values["column_2"] == '"Gimme a few" was minutes ago'  # type: ignore[union-attr]
    assert items[2].values["column_2"] == 'says "no'  # type: ignore[union-attr]


def test_a_quote_that_never_closes_costs_one_line(tmp_path: Path) -> None:
    good = "".join(f"row {i},x\n" for i in range(50))
    content = 'text,label\n"fine, quoted",x\n' + good + '"broken,x\n' + good
    items = list(read_csv(request(tmp_path / "a.csv", content)))
    rejected = [i for i in items if isinstance(i, Rejection)]
    assert [(r.number, r.line, r.reason) for r in rejected] == [(52, 53, "quoting")]
    assert len(items) == 102


def test_a_huge_line_is_rejected_and_the_rest_is_read(tmp_path: Path) -> None:
    content = "text,label\n" + "a,b\n" * 3 + "x" * 200_000 + ",b\n" + "c,d\n" * 3
    items = list(read_csv(request(tmp_path / "a.csv", content, max_record_bytes=10_000)))
    assert [i.reason for i in items if isinstance(i, Rejection)] == ["too_large"]
    assert [i.line for i in items] == [2, 3, 4, 5, 6, 7, 8]


def test_undecodable_bytes_and_nul_are_rejected_with_their_line(tmp_path: Path) -> None:
    content = "text,label\né,a\n".encode() + b"bad \xff,a\nnul \x00,a\nfine,a\n"
    items = list(read_csv(request(tmp_path / "a.csv", content)))
    found = [(i.line, i.reason, i.detail) for i in items if isinstance(i, Rejection)]
    assert found == [
        (3, "undecodable", "undecodable bytes at position 5"),
        (4, "nul", "NUL character at position 5"),
    ]


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("text,label\nhello there,a\n", True),
        ("weather,temperature\nsun is out,12.5\nrain falls,8.0\n", True),
        ("feature_one,feature_two\nthe quick fox,jumps high\n", True),
        ("描述,天气\n今天天气很好,晴朗\n", True),
        ("A man is dancing.,A man dances.,5.0\nA dog runs.,A cat sleeps.,0.5\n", False),
        ("ham,hello you\nspam,win a prize\nham,see you\n", False),
        ("1,2012-01-01\n2,2012-01-02\n", False),
    ],
)
def test_header_is_told_from_data(tmp_path: Path, content: str, header: bool) -> None:
    items = list(read_csv(request(tmp_path / "a.csv", content)))
    assert len(items) == content.count("\n") - header


def test_header_that_could_be_data_is_asked_about(tmp_path: Path) -> None:
    content = "昨天热,昨天很热\n今天冷,今天很冷\n"
    with pytest.raises(InputError, match="DATA-023"):
        list(read_csv(request(tmp_path / "a.csv", content)))
    assert len(list(read_csv(request(tmp_path / "a.csv", content, header=False)))) == 2


def test_header_only_and_twins_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="DATA-014"):
        list(read_csv(request(tmp_path / "a.csv", "text,label\n")))
    with pytest.raises(InputError, match='DATA-022.*"text"'):
        list(read_csv(request(tmp_path / "a.csv", "text,label,text\na,b,c\n")))


def test_real_tables_lose_nothing(llmwright_data: Path) -> None:
    expected = {
        "banking77/train.csv": 10_003,
        "stsb/stsb-en-dev.csv": 1500,
        "sst2/train.tsv": 6920,
        "sms_spam/sms.tsv": 5574,
        "goemotions/dev.tsv": 5426,
        "tatoeba_cmn_eng/cmn_train.txt": 19_344,
    }
    for name, count in expected.items():
        reader = read_csv if name.endswith("csv") else read_tsv
        ask = ReadRequest(llmwright_data / name, name, "utf-8", lambda _: None)
        items = list(reader(ask))
        assert len(items) == count, name
        assert not [i for i in items if isinstance(i, Rejection)], name


def test_banking77_keeps_its_13_newlines_inside_cells(llmwright_data: Path) -> None:
    inside = 0
    for path in (llmwright_data / "banking77").glob("*.csv"):
        rows = read_csv(ReadRequest(path, path.name, "utf-8", lambda _: None))
        inside += sum("\n" in row.values["text"] for row in rows if isinstance(row, Record))
    assert inside == 13


@pytest.mark.parametrize(
    ("content", "header"),
    [
        # Labels that are also usual names of columns: they recur, so they are values.
        ("question,when does it open\nreview,it was fine\nquestion,how much is it\n", False),
        ("天气,今天会下雨吗\n音乐,放一首歌\n天气,明天热不热\n", False),
        ("question,opening\nwhen does it open,yes\nhow much is it,no\n", True),
        # All names are usual ones: a text that happens to be "text" says nothing against it.
        ("text,label\nfirst one,a\ntext,b\n", True),
    ],
)
def test_a_usual_name_that_recurs_is_a_value(tmp_path: Path, content: str, header: bool) -> None:
    items = list(read_csv(request(tmp_path / "a.csv", content)))
    assert len(items) == content.count("\n") - header


def test_long_records_are_not_held_while_the_file_is_read(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + f"{'x' * 500_000},a\n" * 60, encoding="utf-8")
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_csv(ReadRequest(path, path.name, "utf-8", lambda _: None)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 60
    assert peak < 15_000_000
