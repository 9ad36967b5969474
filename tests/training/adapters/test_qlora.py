"""QLoRA without a GPU or its package: said before any work."""

from __future__ import annotations

from importlib import util
from typing import Any

import pytest
import torch

from llmwright.training.adapters.config import QloraAdapter


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_is_refused_before_any_row_is_read(place: Any, refused: Any) -> None:
    error = refused("TRAIN-106", lambda: place.adapt("qlora"))
    assert "adapter to lora" in error.fix


def test_without_the_package_it_is_refused(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if util.find_spec("bitsandbytes") is not None:
        pytest.skip("the package is there")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "llmwright[gpu]" in refused("TRAIN-107", QloraAdapter().require).fix
