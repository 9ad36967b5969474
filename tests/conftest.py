"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import llmwright  # noqa: F401  (before torch: it says how threads wait)


@pytest.fixture(scope="session")
def llmwright_data() -> Path:
    """The folder of larger public data, named by ``LLMWRIGHT_DATA``; skips without it."""
    folder = os.environ.get("LLMWRIGHT_DATA")
    if not folder:
        pytest.skip("LLMWRIGHT_DATA is not set: this test needs the larger public data")
    return Path(folder)


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Messages in English, consent in a folder of the test, no hub, few threads."""
    monkeypatch.setenv("LLMWRIGHT_LANG", "en")
    monkeypatch.setenv("LLMWRIGHT_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
