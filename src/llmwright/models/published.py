"""Models that others published: a folder of Hugging Face, or a name on its hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from llmwright.core.errors import InputError

# How settings name `find_published`, without importing anything.
PUBLISHED = "llmwright.models.published:find_published"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# How the hub's cache calls the folders of a model.
CACHED = "models--"


def find_published(reference: str, root: Path) -> Path | None:
    """Return the folder of a published model, or None where a reference is none.

    A hub id is downloaded unless it was before.

    Args:
        reference: A folder with ``config.json``, or a hub id (``owner/name``).
        root: Where a relative path starts, after the current folder.

    Raises:
        InputError: A GGUF file (``MODEL-070``); no such hub id, or no model there, as `locate`.
        ResourceError: The hub cannot be reached (``TOK-017``).
    """
    named = os.path.expanduser(reference)
    for path in (Path(named), root / named):
        if path.is_file() and path.suffix.lower() == ".gguf":
            raise InputError("MODEL-070", path=path)
        if (path / "config.json").is_file():
            return path
        if path.is_dir():
            gguf = next(path.glob("*.gguf"), None)
            if gguf is not None:
                raise InputError("MODEL-070", path=gguf)
            return None
    if not HUB_ID.fullmatch(reference):
        return None
    from llmwright.models.load import locate

    return locate(reference, root=root)


def name_of(folder: Path) -> str:
    """Return what a model's folder is called: in the hub's cache, the model's own name."""
    cache = folder.parent.parent.name
    if folder.parent.name == "snapshots" and cache.startswith(CACHED):
        return cache.removeprefix(CACHED).replace("--", "/")
    return folder.name
