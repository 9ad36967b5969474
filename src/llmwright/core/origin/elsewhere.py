"""References to what the project did not make: a published model's folder, or its name on a hub."""

from __future__ import annotations

import importlib
from pathlib import Path

from llmwright.core import artifacts
from llmwright.core.artifacts import Artifact


def find_elsewhere(finder: str, reference: str, root: Path, kind: str) -> Artifact | None:
    """Return a folder as an artifact that no manifest describes; None where nothing is found.

    Its id is the hash of its content, as everywhere; nothing is written into it.

    Args:
        finder: ``module:function`` that takes the reference and the project's folder and returns a
            folder or None.
        reference: What the user gave.
        root: The project's folder, where relative paths start.
        kind: What such a folder is.

    Raises:
        LLMwrightError: The finder knows what it is and why it is of no use.
    """
    module, _, name = finder.partition(":")
    folder: Path | None = getattr(importlib.import_module(module), name)(reference, root)
    if folder is None:
        return None
    return Artifact(artifacts.identity_of(kind, artifacts.list_files(folder)), kind, folder)
