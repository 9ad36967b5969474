from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.data.detect import find_format, is_parquet


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("tatoeba_cmn_eng/cmn_train.txt", "tsv"),
        ("thucnews10/dev.txt", "tsv"),
        ("wikiann_en/train_8k.txt", "conll"),
        ("peopledaily_ner/dev_2k.txt", "conll"),
        ("tiny_shakespeare/input.txt", "text"),
        ("xiyouji/xiyouji.txt", "text"),
        ("trec/TREC.test.all", "text"),
        ("llama_factory/wiki_demo.txt", "text"),
        ("multi30k/val.de.gz", "text"),
        ("fewclue/bustm/test_public.json", "jsonl"),
        ("chinese_poetry/tangshi_300.json", "json"),
        ("llama_factory/c4_demo.jsonl", "jsonl"),
        ("ud_en_ewt/en_ewt-ud-dev_900.conllu", "conll"),
        ("goemotions/dev.tsv", "tsv"),
    ],
)
def test_format_of_real_files(llmwright_data: Path, name: str, found: str) -> None:
    assert find_format(llmwright_data / name, "utf-8")[0] == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"a": 1}\n{"a": 2}\n', "jsonl"),
        ('[\n {"a": 1}\n]', "json"),
        ("[Verse 1]\nLa la la\n", "text"),
        ("__label__x some text\n__label__y more\n", "labelled"),
        ("Dear all,\n\nsee you.\n", "text"),
    ],
)
def test_format_without_extension(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "data").write_text(content, encoding="utf-8")
    assert find_format(tmp_path / "data", "utf-8") == (found, True)


def test_parquet_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"PAR1....")
    assert is_parquet(tmp_path / "x.csv")
