"""Where an adapter's base is looked for, and how a damaged adapter is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmwright.core.errors import InputError
from llmwright.models.adapters import attached
from llmwright.models.adapters.base import Base, holds_weights, is_adapter, weights_sha256


def folder(path: Path, content: bytes = b"weights") -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(content)
    return path


def test_an_artifact_is_found_in_the_store_and_beside_the_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "project" / ".llmwright" / "artifacts" / "model"
    base = folder(models / "0123456789abcdef")
    known = Base("artifact", base.name, None, weights_sha256(base))
    drafts = tmp_path / "project" / ".llmwright" / "drafts" / "one"
    for place in (models / "fedcba9876543210", drafts):
        place.mkdir(parents=True)
        assert next(known.candidates(place)) == base
    copied = tmp_path / "elsewhere" / "adapter"
    copied.mkdir(parents=True)
    assert list(known.candidates(copied)) == [copied.parent / base.name]
    monkeypatch.chdir(tmp_path / "project")
    assert next(known.candidates(copied)) == base


def test_a_folder_is_found_from_the_project(tmp_path: Path) -> None:
    base = folder(tmp_path / "project" / "models" / "one")
    adapter = tmp_path / "project" / ".llmwright" / "artifacts" / "model" / "a"
    adapter.mkdir(parents=True)
    known = Base("folder", "models/one", None, weights_sha256(base))
    assert next(known.candidates(adapter)) == base
    known.check(adapter, base)
    (base / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(InputError) as caught:
        known.check(adapter, base)
    assert caught.value.code == "MODEL-052"


def test_what_holds_weights(tmp_path: Path) -> None:
    assert holds_weights(folder(tmp_path / "whole"))
    assert not is_adapter(tmp_path / "whole")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    assert holds_weights(tmp_path / "adapter")
    assert not holds_weights(tmp_path)


@pytest.mark.parametrize("damage", ["no base", "half a base", "half the weights"])
def test_a_damaged_adapter_is_told(tmp_path: Path, damage: str) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\x08")
    if damage == "half a base":
        (tmp_path / "base.json").write_text('{"kind": ')
    if damage == "half the weights":
        Base("hub", "someone/model", "0" * 40, "").save(tmp_path)
        assert json.loads((tmp_path / "base.json").read_text())["name"] == "someone/model"
    with pytest.raises(InputError) as caught:
        attached.read(tmp_path)
    assert caught.value.code == "MODEL-050"
