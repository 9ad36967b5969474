"""Which files of a folder are documents, and which are left out and why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmwright.core.errors import InputError
from llmwright.core.project import FILE_NAME
from llmwright.knowledge.config import DOCUMENT_READERS, KnowledgeConfig


@dataclass(frozen=True)
class Found:
    """A document file as it lies there.

    Attributes:
        path: Where it is.
        name: Its path within the folder, with forward slashes.
        size_bytes: Its size.
        modified_ns: When it was last written, in nanoseconds.
    """

    path: Path
    name: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class LeftOut:
    """A file that is not read.

    Attributes:
        name: As in `Found`.
        reason: Name of the sentence that says why, without ``knowledge.left_out_``.
        detail: What exactly, where there is more to say.
    """

    name: str
    reason: str
    detail: str = ""


def find_documents(config: KnowledgeConfig, root: Path) -> tuple[list[Found], list[LeftOut]]:
    """Return the documents of the folder in the order of their names, and what is left out.

    Hidden files and folders are passed over.

    Args:
        config: Says which folder.
        root: Where a relative path starts.

    Raises:
        InputError: There is no such folder (``KNOW-001``).
    """
    folder = root / os.path.expanduser(config.folder)
    if not folder.is_dir():
        raise InputError("KNOW-001", path=config.folder)
    found: list[Found] = []
    left_out: list[LeftOut] = []
    for path in _files_below(folder):
        name = path.relative_to(folder).as_posix()
        item = _look_at(path, name, folder, config.max_file_bytes)
        if isinstance(item, Found):
            found.append(item)
        elif item is not None:
            left_out.append(item)
    return found, left_out


def _files_below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _look_at(path: Path, name: str, folder: Path, max_bytes: int) -> Found | LeftOut | None:
    if path.name == FILE_NAME:
        return None
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            # Who may write into the folder could show any file of this machine.
            return LeftOut(name, "outside")
        if not path.is_file():
            return LeftOut(name, "no_file")
        status = path.stat()
    except OSError as error:
        return LeftOut(name, "unreadable", os.strerror(error.errno or 0))
    extension = extension_of(path)
    if extension not in DOCUMENT_READERS:
        return LeftOut(name, "format", extension or path.name)
    if status.st_size > max_bytes:
        return LeftOut(name, "too_large", f"{status.st_size / 1e6:.0f} MB")
    return Found(path, name, status.st_size, status.st_mtime_ns)


def extension_of(path: Path) -> str:
    """Return a file's extension in lower case, without the dot."""
    return path.suffix[1:].lower()
