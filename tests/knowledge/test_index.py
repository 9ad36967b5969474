"""An index is whole or not there, and only what changed is read again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.knowledge.conftest import DOCUMENTS, Ask, Said, by_english_words, vectors

from llmwright.core.errors import InputError


def age(folder: Path) -> None:
    """Make all files older than any index: what was just written is always looked at again."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 60, time.time() - 60))


def folders(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "home").glob("knowledge/*/*") if path.is_dir()]


def test_an_unchanged_folder_is_opened_as_it_is(docs: Path, ask: Ask, tmp_path: Path) -> None:
    age(docs)
    first = ask()
    # A file that cannot be opened any more would be noticed if it were read.
    before = {path: path.stat().st_mtime_ns for path in folders(tmp_path)}
    second = ask()
    assert {path: path.stat().st_mtime_ns for path in folders(tmp_path)} == before
    assert len(second.index) == len(first.index) > len(DOCUMENTS)


def test_only_changed_files_are_read_again(docs: Path, ask: Ask, said: Said) -> None:
    age(docs)
    ask()
    (docs / "delivery.txt").write_text("Parcels to islands take twenty days.", encoding="utf-8")
    (docs / "退款.txt").unlink()
    (docs / "new.txt").write_text("Umbrellas are sold in spring.", encoding="utf-8")
    knowledge = ask()
    assert "2 files were read, 4 were known" in " ".join(said.notices())
    texts = [knowledge.index.passage(place).text for place in range(len(knowledge.index))]
    assert "Parcels to islands take twenty days." in texts
    assert not any("退款" in text for text in texts)
    # A fresh index of the same folder is the same.
    again = ask(passage_size=201)
    assert [again.index.passage(p) for p in range(len(again.index))] == [
        knowledge.index.passage(p) for p in range(len(knowledge.index))
    ]
    for question in ("How long to the islands?", "umbrellas", "退款"):
        assert [(h.passage, h.score) for h in knowledge.search(question)] == [
            (h.passage, h.score) for h in again.search(question)
        ]
    assert knowledge.search("退款") == []


def test_what_was_just_written_is_looked_at_again(docs: Path, ask: Ask) -> None:
    ask()
    path = docs / "delivery.txt"
    status = path.stat()
    text = path.read_text(encoding="utf-8").replace("ten days", "six days")
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "six days" in ask().search("parcels to islands")[0].passage.text


def test_vectors_of_known_passages_are_kept(docs: Path, ask: Ask) -> None:
    asked: list[str] = []
    encoder = by_english_words()

    def embed(texts: list[str]) -> object:
        asked.extend(texts)
        return vectors(texts)

    seen = type(encoder)("seen", embed, encoder.questions)  # type: ignore[arg-type]
    ask(seen)
    assert len(asked) == len(ask(seen).index)
    asked.clear()
    (docs / "new.txt").write_text("Umbrellas are sold in spring.", encoding="utf-8")
    index = ask(seen).index
    assert asked == ["new\nUmbrellas are sold in spring."]
    vectors_ND = index.vectors_ND
    assert vectors_ND is not None
    for place in range(len(index)):
        expected_D = vectors([index.passage(place).searched])[0]
        assert abs(vectors_ND[place] - expected_D).max() < 1e-6


def test_indexes_of_other_settings_stay(docs: Path, ask: Ask, tmp_path: Path) -> None:
    asked: list[str] = []
    plain = by_english_words()

    def embed(texts: list[str]) -> object:
        asked.extend(texts)
        return vectors(texts)

    seen = type(plain)("seen", embed, plain.questions)  # type: ignore[arg-type]
    ask(seen)
    asked.clear()
    # Who searches by words alone in between costs nobody the embeddings.
    ask()
    ask(seen)
    assert asked == []
    for size in (100, 101, 102):
        ask(passage_size=size)
    assert len(folders(tmp_path)) == 3


@pytest.mark.parametrize("way", ["flip", "cut", "remove", "head"])
def test_a_damaged_index_is_made_anew(way: str, docs: Path, ask: Ask, tmp_path: Path) -> None:
    expected = ask().search("parcels to islands")
    (folder,) = folders(tmp_path)
    path = folder / ("index.json" if way == "head" else "texts.bin")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if way == "remove":
        path.unlink()
    else:
        path.write_bytes(content[:-20] if way == "cut" else b"{" if way == "head" else content)
    assert ask().search("parcels to islands") == expected


def test_a_killed_indexing_leaves_nothing_that_counts(docs: Path, ask: Ask, tmp_path: Path) -> None:
    ask()
    (folder,) = folders(tmp_path)
    left = folder.parent / "abc.tmp"
    left.mkdir()
    (left / "texts.bin").write_bytes(b"half")
    (docs / "new.txt").write_text("Umbrellas are sold in spring.", encoding="utf-8")
    assert ask().search("umbrellas")[0].passage.source == "new.txt"
    assert not left.exists()
    assert len(folders(tmp_path)) == 1


def test_another_process_is_waited_for(docs: Path, ask: Ask, said: Said, tmp_path: Path) -> None:
    ask()
    (lock,) = (tmp_path / "home").glob("knowledge/*.lock")
    code = (
        "import sys, time; from pathlib import Path; from llmwright.core.files import hold\n"
        f"held = hold(Path({str(lock)!r})); print('held', flush=True); time.sleep(1)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert ask().search("parcels")
        other.wait()
    assert "waiting" in " ".join(said.notices())


def test_what_is_left_out_is_said(docs: Path, ask: Ask, said: Said, tmp_path: Path) -> None:
    (docs / "manual.pdf").write_bytes(b"%PDF-1.7")
    (docs / "large.txt").write_text("words " * 1000, encoding="utf-8")
    (docs / "empty.txt").write_text("", encoding="utf-8")
    (docs / "binary.md").write_bytes(os.urandom(4096) + bytes(200))
    (docs / ".hidden.txt").write_text("secret", encoding="utf-8")
    (tmp_path / "outside.txt").write_text("secret", encoding="utf-8")
    (docs / "link.txt").symlink_to(tmp_path / "outside.txt")
    (docs / "rows.jsonl").write_text('{"a": "fine text"}\n{broken\n', encoding="utf-8")
    knowledge = ask(max_file_bytes=5000)
    warnings = "\n".join(said.notices("warning"))
    for name in ("manual.pdf", "large.txt", "empty.txt", "binary.md", "link.txt", "rows.jsonl"):
        assert name in warnings
    assert "hidden" not in warnings
    assert knowledge.search("secret") == []


def test_an_empty_or_missing_folder_is_an_error(docs: Path, ask: Ask) -> None:
    with pytest.raises(InputError) as caught:
        ask(folder="dcos")
    assert caught.value.code == "KNOW-001"
    for path in docs.rglob("*.*"):
        path.unlink()
    with pytest.raises(InputError) as caught:
        ask()
    assert caught.value.code == "KNOW-002"
