from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.data.encoding import encoding_of, find_encoding, known_encoding
from llmwright.data.readers.lines import open_text

CHINESE = "今天天气很好，我们去公园散步吧。\n明天会下雨，记得带伞。\n" * 20
FRENCH = "Le café est fermé à Noël; où êtes-vous allés cet été ?\n" * 20
ENGLISH = "What is the full form of .com ?\n" * 50


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8-sig"),
        (CHINESE, "utf-16", "utf-16"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        (CHINESE, "utf-16-be", "utf-16-be"),
        (CHINESE, "gb18030", "gb18030"),
        (ENGLISH, "ascii", "utf-8"),
        (ENGLISH, "utf-16-le", "utf-16-le"),
        (ENGLISH, "utf-16-be", "utf-16-be"),
        (FRENCH, "utf-8", "utf-8"),
        (FRENCH, "latin-1", "latin-1"),
        (FRENCH + "“quoted” – dash\n", "cp1252", "cp1252"),
    ],
)
def test_finds_the_encoding_by_content(
    tmp_path: Path, text: str, encoding: str, found: str
) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(text.encode(encoding))
    assert find_encoding(path, "file.txt") == found
    with open_text(path, found) as stream:
        assert stream.read() == text


def test_big_endian_mark_and_mixed_text_survive(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    text = "text,label\n" + CHINESE
    path.write_bytes(b"\xfe\xff" + text.encode("utf-16-be"))
    assert find_encoding(path, "file.csv") == "utf-16"
    with open_text(path, "utf-16") as stream:
        assert stream.read() == text


def test_a_few_bad_bytes_do_not_make_utf8_something_else() -> None:
    assert encoding_of((CHINESE + FRENCH).encode() + b"bad \xff\xfe bytes\n") == "utf-8"


def test_mostly_english_gb18030_is_found() -> None:
    assert encoding_of((ENGLISH + "价格：十元，数量：三个。\n").encode("gb18030")) == "gb18030"


def test_emoji_do_not_hide_gb18030() -> None:
    assert encoding_of(("今天很开心😀🎉，明天见👋！\n" * 20).encode("gb18030")) == "gb18030"
    # Bytes that would be such characters are no sign of it by themselves.
    assert encoding_of((ENGLISH + "😀\n").encode("gb18030")) == "cp1252"


def test_stray_nul_is_still_utf8_and_noise_is_no_text() -> None:
    assert encoding_of(ENGLISH.encode() + b"a\x00b\n") == "utf-8"
    assert encoding_of(ENGLISH.encode() + "é".encode() + b"a\x00b\n\xff\n") == "utf-8"
    assert encoding_of(b"text,label\nhel\x00lo,a\nx,b\n") == "utf-8"
    noise = bytes((i * 7919 + i * i * 31) % 256 for i in range(20_000))
    assert encoding_of(noise) is None


def test_trec_is_latin_1(llmwright_data: Path) -> None:
    path = llmwright_data / "trec" / "TREC.train.all"
    assert find_encoding(path, "trec") == "latin-1"
    assert find_encoding(llmwright_data / "trec" / "TREC.test.all", "trec") == "utf-8"


def test_empty_file_and_unknown_name_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\xef\xbb\xbf \n\n")
    with pytest.raises(InputError, match="DATA-013"):
        find_encoding(tmp_path / "empty", "empty")
    with pytest.raises(ConfigError, match="DATA-016"):
        known_encoding("utf-9")
    assert known_encoding("UTF8") == "utf-8-sig"
