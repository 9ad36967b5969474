"""Finished tokenizers: what can be read, and one clear error for what cannot."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
        TokenizeConfig(kind="load")


def test_a_home_of_nobody_is_no_path() -> None:
    with pytest.raises(InputError, match="TOK-010"):
        load_tokenizer("~nosuchuser/tok")


def test_a_slow_tokenizer_is_refused(tmp_path: Path) -> None:
    # Only a vocabulary of a class that transformers has in Python alone.
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "|": 4}')
    config = {"tokenizer_class": "Wav2Vec2CTCTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="TOK-013.*Wav2Vec2CTCTokenizer"):
        load_tokenizer(tmp_path)


class Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetch_in_another_process(name: str, endpoint: str, home: Path) -> str:
    """The hub's address is read once, when the library is imported."""
    program = (
        "import sys\n"
        "from llmwright.core.errors import LLMwrightError\n"
        "from llmwright.tokenization.hub import fetch\n"
        "try: fetch(sys.argv[1])\n"
        "except LLMwrightError as error: print(error)\n"
    )
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, name], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_repository_that_is_not_there(hub_url: str, tmp_path: Path) -> None:
    said = fetch_in_another_process("nobody/nothing", hub_url, tmp_path)
    assert said.startswith(f"[TOK-016] {hub_url} has no nobody/nothing at revision main")


def test_a_network_error_without_words_is_named_by_its_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub

    def fail(*args: object, **values: object) -> str:
        raise ConnectionResetError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ResourceError, match="TOK-017.*ConnectionResetError"):
        load_tokenizer("nobody/nothing")


def test_reasons_are_in_the_users_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    for name, content in {"vocab.txt": "a\nb\n", "x.model": "no", "tokenizer.json": "[]"}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match="TOK-012") as info:
            load_tokenizer(tmp_path / name)
        assert not re.search("not a|neither|among", info.value.message), info.value.message
