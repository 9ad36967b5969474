"""References to models that others published."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.core.errors import InputError, ResourceError
from llmwright.models.published import find_published, name_of


def test_folders_are_found_from_here_and_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path.parent)
    assert find_published("bert", tmp_path) == tmp_path / "bert"
    assert find_published(str(tmp_path / "bert"), Path("elsewhere")) == tmp_path / "bert"
    assert find_published("empty", tmp_path) is None
    assert find_published("step", tmp_path) is None


@pytest.mark.parametrize("name", ["model.gguf", "folder"])
def test_a_gguf_file_alone_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "model.gguf", tmp_path / "folder" / "q8.gguf"):
        path.write_bytes(b"GGUF")
    with pytest.raises(InputError, match="tokenizer of its own") as caught:
        find_published(name, tmp_path)
    assert caught.value.code == "MODEL-070"


def test_a_hub_id_is_asked_for_once_it_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        find_published("nobody/nothing", tmp_path)
    assert caught.value.code == "TOK-017"


def test_a_cached_model_has_its_own_name(tmp_path: Path) -> None:
    cached = tmp_path / "models--Qwen--Qwen3-0.6B" / "snapshots" / "0123abc"
    assert name_of(cached) == "Qwen/Qwen3-0.6B"
    assert name_of(tmp_path / "mine") == "mine"
