from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmwright.core.errors import InputError
from llmwright.data.encoding import find_encoding
from llmwright.data.readers.labelled import read_labelled
from llmwright.data.readers.record import ReadRequest, Record, Rejection
from llmwright.data.readers.text import read_text


def read(path: Path, **settings: Any) -> list[Record | Rejection]:
    encoding = find_encoding(path, path.name)
    return list(read_text(ReadRequest(path, path.name, encoding, lambda _: None, **settings)))


def test_documents_by_file_line_and_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\r\n\r\n \r\nthree\r\n")
    assert [r.values["text"] for r in read(path)] == ["one\ntwo\n\n \nthree\n"]  # type: ignore[union-attr]
    lines = read(path, document="line")
    assert [(r.line, r.values["text"]) for r in lines] == [(1, "one"), (2, "two"), (5, "three")]  # type: ignore[union-attr]
    paragraphs = read(path, document="paragraph")
    assert [(r.line, r.values["text"]) for r in paragraphs] == [(1, "one\ntwo"), (5, "three")]  # type: ignore[union-attr]


def test_mark_and_carriage_returns_vanish(llmwright_data: Path) -> None:
    botchan = read(llmwright_data / "tokenizer_sentencepiece" / "botchan.txt")
    assert botchan[0].values["text"].startswith("Project Gutenberg's Botchan")  # type: ignore[union-attr]
    novel = read(llmwright_data / "xiyouji" / "xiyouji.txt", document="line")
    assert not any("\r" in r.values["text"] for r in novel if isinstance(r, Record))


def test_too_large_is_an_error_for_a_file_and_a_rejection_for_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("short\n" + "x" * 5000 + "\nend\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"DATA-021.*1,000"):
        read(path, max_record_bytes=1000)
    for document in ("line", "paragraph"):
        items = read(path, document=document, max_record_bytes=1000)
        assert [i.reason for i in items if isinstance(i, Rejection)] == ["too_large"]


def test_labelled_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("DESC:def What is it ?\nlonely\n__label__a __label__b two\n", encoding="utf-8")
    items = list(read_labelled(ReadRequest(path, "a.txt", "utf-8", lambda _: None)))
    assert items[0].values == {"text": "What is it ?", "label": "DESC:def"}  # type: ignore[union-attr]
    assert isinstance(items[1], Rejection)
    assert items[2].values == {"text": "two", "label": ["a", "b"]}  # type: ignore[union-attr]
