"""Finished models that cannot be used: one clear error each."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from llmwright.core.errors import ConfigError, InputError, ResourceError
from llmwright.models.load import load_model, save_model


@pytest.fixture
def folder(make, tmp_path: Path) -> Path:
    save_model(make("decoder", "AutoModelForCausalLM"), tmp_path / "model")
    return tmp_path / "model"


def test_hub_without_network_fails_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(ResourceError, match="TOK-017"):
        load_model("nobody/nothing-at-all")
    assert time.monotonic() - start < 15


def test_folder_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="MODEL-010"):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000])
def test_cut_weights(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match="MODEL-011"):
        load_model(folder)


def test_damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(InputError, match="MODEL-011"):
        load_model(folder)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="MODEL-012"):
        load_model(folder)


def test_missing_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"MODEL-013.*model\.norm\.weight"):
        load_model(folder)


def test_code_of_a_repository_is_never_run(folder: Path) -> None:
    proof = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(proof)!r}, 'w').close()\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="MODEL-014"):
        load_model(folder)
    assert not proof.exists()


def test_class_the_model_cannot_have(folder: Path) -> None:
    with pytest.raises(InputError, match="MODEL-015"):
        load_model(folder, task="AutoModelForSeq2SeqLM")
    with pytest.raises(ConfigError, match="MODEL-006"):
        load_model(folder, task="AutoModelForCausalLLM")


def test_number_format(folder: Path) -> None:
    assert load_model(folder, dtype="bfloat16").dtype == torch.bfloat16
