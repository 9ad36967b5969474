"""Memory that a step gave back stays in the process while it trains, and not afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmwright.training.acceleration.allocation import _glibc

LOOK = """
import psutil, torch
from llmwright.training.acceleration.allocation import kept_memory

def left():
    before = psutil.Process().memory_info().rss
    torch.ones(50_000_000)  # 200 MB, given back at once
    return psutil.Process().memory_info().rss - before

print(left() < 20e6)
with kept_memory():
    grown = [left() for _ in range(5)]
    print(grown[0] > 150e6, grown[-1] < 20e6)
print(psutil.Process().memory_info().rss < 1e9, left() < 20e6)
"""


@pytest.mark.skipif(_glibc("mallopt") is None, reason="another C library")
def test_memory_is_kept_and_given_back() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=120
    )
    assert set(found.stdout.split()) == {"True"}, found.stdout
