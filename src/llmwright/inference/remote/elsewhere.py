"""Models that are no artifacts: addresses of servers, folders of Hugging Face, names on its hub."""

from __future__ import annotations

from pathlib import Path

from llmwright.models.published import find_published

# How settings name `find_model`, without importing anything.
ANYWHERE = "llmwright.inference.remote.elsewhere:find_model"


def is_address(source: str) -> bool:
    """Say whether a reference is the address of a server."""
    return source.lower().startswith(("http://", "https://"))


def find_model(reference: str, root: Path) -> Path | None:
    """Return a folder for a model that was not made here, or None where a reference is none.

    Args:
        reference: An address, or as `find_published` takes it.
        root: The project's folder.

    Raises:
        InputError, ResourceError: As `folder_of_address` or `find_published`.
    """
    if not is_address(reference):
        return find_published(reference, root)
    from llmwright.inference.remote.endpoint import folder_of_address

    return folder_of_address(reference, root)
