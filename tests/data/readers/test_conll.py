from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.core.errors import InputError
from llmwright.data.readers.conll import read_conll
from llmwright.data.readers.record import ReadRequest, Record, Rejection


def read(path: Path, said: list[str] | None = None) -> list[Record | Rejection]:
    say = said.append if said is not None else lambda _: None
    return list(read_conll(ReadRequest(path, path.name, "utf-8", say)))


def test_wnut_reads_every_sentence_and_keeps_hashtags(llmwright_data: Path) -> None:
    items = read(llmwright_data / "wnut17" / "wnut17train.conll")
    assert len(items) == 3394
    records = [item for item in items if isinstance(item, Record)]
    assert len(records) == 3394
    tokens = [token for record in records for token in record.values["tokens"]]
    assert any(token.startswith("#") for token in tokens)
    assert all(len(r.values["tokens"]) == len(r.values["tags"]) for r in records)


def test_universal_dependencies(llmwright_data: Path) -> None:
    path = llmwright_data / "ud_en_ewt" / "en_ewt-ud-dev_900.conllu"
    records = [item for item in read(path) if isinstance(item, Record)]
    assert len(records) == 900
    assert records[0].values["tokens"] == ["From", "the", "AP", "comes", "this", "story", ":"]
    assert records[0].values["upos"][:3] == ["ADP", "DET", "PROPN"]
    # Ranges such as 1-2 and empty nodes such as 8.1 are no tokens.
    assert all(number.isdecimal() for r in records for number in r.values["id"])


def test_wikiann_prefix_is_taken_off_and_said(llmwright_data: Path) -> None:
    said: list[str] = []
    items = read(llmwright_data / "wikiann_en" / "train_8k.txt", said)
    assert len(items) == 8000
    assert isinstance(items[0], Record)
    assert items[0].values["tokens"][:2] == ["R.H.", "Saunders"]
    assert any('"en:"' in sentence for sentence in said)


def test_spaces_blank_lines_with_tabs_and_docstart(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- O\n\nEU B-ORG\nrejects O\n\t\nPeter B-PER\n", encoding="utf-8")
    items = read(path)
    assert [item.line for item in items] == [3, 6]
    assert isinstance(items[0], Record)
    assert items[0].values == {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}


def test_a_broken_sentence_is_rejected_with_its_line(tmp_path: Path) -> None:
    good = "a\tO\nb\tO\n\n"
    (tmp_path / "a.conll").write_text(good * 30 + "c\tO\nlonely\n\n" + good, encoding="utf-8")
    rejected = [item for item in read(tmp_path / "a.conll") if isinstance(item, Rejection)]
    assert [(r.number, r.line, r.reason) for r in rejected] == [(31, 91, "columns")]
    assert "line 92" in rejected[0].detail


def test_prose_is_no_conll(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Once upon a time.\nThe end\n", encoding="utf-8")
    with pytest.raises(InputError, match="DATA-024"):
        read(tmp_path / "a.conll")
