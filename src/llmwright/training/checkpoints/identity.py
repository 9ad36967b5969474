"""Whose checkpoint it is: all that the result of a run depends on, and what differs."""

from __future__ import annotations

from typing import Any

from llmwright.core.layers import flat

MAX_SHOWN = 8


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return each setting that is not what it was, as in ``lr: 0.01 → 0.02``; empty when none."""
    old, new = flat(before), flat(now)
    keys = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    shown = [f"{key}: {old.get(key)} → {new.get(key)}" for key in keys[:MAX_SHOWN]]
    return ", ".join(shown) + (" …" if len(keys) > MAX_SHOWN else "")
