"""Every format gives the text that was meant, with offsets that lead back to it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from llmwright.core.errors import ConfigError, InputError
from llmwright.knowledge.config import DOCUMENT_READERS
from llmwright.knowledge.documents.document import Document, SourceFile


def read(path: Path, *columns: str) -> list[Document]:
    file = SourceFile(path, path.name, columns)
    return list(DOCUMENT_READERS.get(path.suffix[1:])(file))


def parts(document: Document) -> dict[str, str]:
    return {s.heading: document.text[s.start : s.end].strip() for s in document.sections}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_text_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("退货政策\r\n十四天之内可以退货。".encode(encoding))
    assert read(path)[0].text == "退货政策\n十四天之内可以退货。"


def test_markdown_sections_have_their_headings(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "Before.\n# Shop #\nWelcome.\n## Returns\nTwo weeks.\n```\n# no heading\n```\n"
        "### Sale\nNo returns.\n## Payment\nCards.\n",
        encoding="utf-8",
    )
    assert parts(read(path)[0]) == {
        "": "Before.",
        "Shop": "Welcome.",
        "Shop > Returns": "Two weeks.\n```\n# no heading\n```",
        "Shop > Returns > Sale": "No returns.",
        "Shop > Payment": "Cards.",
    }


def test_html_is_what_a_reader_sees(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<title>Shop</title><script>var hidden = 1;</script><nav>Home</nav><body>"
        "<h1>Returns</h1><p>Two &amp; a half\n weeks <b>only</b>.</p><ul><li>One<li>Two</ul>"
        "<h2>Sale</h2><table><tr><td>a</td><td>b</td></tr></table><pre>x\n y</pre><p>",
        encoding="utf-8",
    )
    found = read(path)[0]
    assert parts(found) == {
        "Shop > Returns": "Two & a half weeks only.\n\nOne\nTwo",
        "Shop > Returns > Sale": "a b\n\nx\n y",
    }
    assert "hidden" not in found.text
    assert "Home" not in found.text


def test_html_without_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<script>" + "<div>" * 50_000, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code == "KNOW-004"


def test_rows_are_documents(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "question": "How long?", "answer": "Two weeks.", "tags": ["x"]},
        {"id": 2, "question": "Cards?", "answer": None, "tags": []},
        {"id": 3, "question": None, "answer": None, "tags": []},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read(path)
    assert [document.row for document in found] == [1, 2]
    assert found[0].text == "id: 1\nquestion: How long?\nanswer: Two weeks."
    assert [document.text for document in read(path, "answer")] == ["Two weeks."]
    with pytest.raises(ConfigError, match="answers"):
        read(path, "answers")


def test_tables_of_other_formats(tmp_path: Path) -> None:
    table = pl.DataFrame({"q": ["How long?"], "a": ["Two weeks."]})
    table.write_csv(tmp_path / "a.csv")
    table.write_parquet(tmp_path / "a.parquet")
    table.write_json(tmp_path / "a.json")
    for name in ("a.csv", "a.parquet", "a.json"):
        assert [d.text for d in read(tmp_path / name)] == ["q: How long?\na: Two weeks."], name


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "a.txt"
    bomb.write_bytes(gzip.compress(b"a" * 1_000_000))
    binary = tmp_path / "b.txt"
    binary.write_bytes(bytes(range(256)) * 40)
    for path in (bomb, binary):
        with pytest.raises(InputError) as caught:
            read(path)
        assert caught.value.code in ("KNOW-004", "DATA-015")
