"""Finished tokenizers: what can be read, and one clear error for what cannot."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from llmwright.core.errors import ConfigError, InputError, ResourceError
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.load import load_for_config, load_tokenizer
from llmwright.tokenization.special import Framing


@pytest.fixture
def folder(tmp_path: Path, sentences: list[str]) -> Path:
    tokenizer = TOKENIZERS.get("char")(TokenizeConfig(kind="char"), sentences, Framing())
    tokenizer.save_pretrained(tmp_path / "tok")
    return tmp_path / "tok"


def test_folder_and_bare_file_are_the_same(folder: Path, sentences: list[str]) -> None:
    whole = load_tokenizer(folder)
    bare = load_tokenizer(folder / "tokenizer.json")
    for text in sentences:
        assert whole(text)["input_ids"] == bare(text)["input_ids"]
    assert (bare.pad_token, bare.eos_token) == ("<pad>", "<eos>")
    assert len(bare) == len(whole)


def test_relative_source_starts_at_the_project(folder: Path) -> None:
    config = TokenizeConfig(kind="load", source="tok")
    assert len(load_for_config(config, (), Framing(), folder.parent)) == len(load_tokenizer(folder))


def test_end_of_text_never_pads(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    vocabulary = {chr(97 + i): i for i in range(26)} | {"<|endoftext|>": 26}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.pad_token == "<pad>"
    assert tokenizer.pad_token_id == 27


def test_missing_path(tmp_path: Path) -> None:
    for name in ("./nothing", "/no/such/folder", str(tmp_path / "gone"), "vocab.txt"):
        with pytest.raises(InputError, match="TOK-010"):
            load_tokenizer(name)


def test_folder_without_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="TOK-011") as caught:
        load_tokenizer(tmp_path)
    assert "llmwright tokenize" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab"'),
        ("tokenizer.json", '{"model": {"type": "Unknown"}}'),
        ("tokenizer.model", "no protocol buffer"),
        ("vocab.txt", "hello\nworld\n"),
        ("tokenizer.json", "[]"),
    ],
)
def test_damaged_file(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="TOK-012"):
        load_tokenizer(tmp_path / name)


def test_code_of_a_repository_is_never_run(folder: Path) -> None:
    proof = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(proof)!r}, 'w').close()\nclass Evil: pass\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    try:
        load_tokenizer(folder)
    except InputError as error:
        assert error.code == "TOK-014"  # noqa: PT017
    assert not proof.exists()


def test_hub_without_network_fails_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(ResourceError, match="TOK-017") as caught:
        load_tokenizer("nobody/nothing-at-all")
    assert time.monotonic() - start < 15
    assert "HF_ENDPOINT" in caught.value.fix


def test_not_a_hub_id() -> None:
    with pytest.raises(InputError, match="TOK-015"):
        load_tokenizer("two words")


def test_load_needs_a_source() -> None:
    with pytest.raises(ConfigError, match="TOK-004"):
        load_for_config(TokenizeConfig(kind="load"), (), Framing())
