"""Which files a source means: paths, folders, globs, lists of them, or given splits."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmwright.core.errors import InputError
from llmwright.core.locale import text as sentence
from llmwright.core.project import FILE_NAME
from llmwright.data.records import SPLITS, SplitName

_DOCUMENTATION = re.compile(r"(readme|license|licence|citation|sha256sums)\b", re.IGNORECASE)
_SPLIT_WORD = re.compile(
    r"(?:^|[^a-z])(train|training|dev|devel|val|valid|validation|test|testing)(?=[^a-z]|$)"
)
_SPLIT_OF: dict[str, SplitName] = {
    "train": "train", "training": "train", "dev": "validation", "devel": "validation",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class SourceFile:
    """One file to read.

    Attributes:
        path: Where it is.
        name: How messages and rows call it: from the project's folder where it lies below it.
        split: The split it was given for.
    """

    path: Path
    name: str
    split: SplitName | None = None


def find_files(
    source: str | Sequence[str] | Mapping[SplitName, str | list[str]], root: Path
) -> list[SourceFile]:
    """Return the files of a source, each once, in a fixed order.

    Args:
        source: As in `PrepareConfig.source`.
        root: Where relative paths start.

    Raises:
        InputError: A path does not exist (``DATA-010``), or a folder or glob has no files
            (``DATA-011``).
    """
    if isinstance(source, Mapping):
        return [
            dataclasses.replace(file, split=split)
            for split in SPLITS
            if split in source
            for file in find_files(source[split], root)
        ]
    found: dict[Path, SourceFile] = {}
    for word in [source] if isinstance(source, str) else source:
        for path in _expand(word, root):
            found.setdefault(path, SourceFile(path, _name(path, root)))
    return list(found.values())


def _expand(word: str, root: Path) -> list[Path]:
    try:
        path = root / Path(word).expanduser()
    except RuntimeError as error:  # `~name` of a user who is not there
        raise InputError("DATA-010", path=word, hint="") from error
    if path.is_file():
        return [path]
    base, pattern = _existing(path)
    if path.is_dir():
        files = _files_below(path)
    elif any(sign in pattern for sign in "*?["):
        files = [p for p in sorted(base.glob(pattern)) if p.is_file() and p.name != FILE_NAME]
    else:
        raise InputError("DATA-010", path=word, hint=_near(path))
    if not files:
        raise InputError("DATA-011", path=word)
    return files


def _existing(path: Path) -> tuple[Path, str]:
    """Return the folder down to which a path exists as it is written, and the rest.

    Only in the rest can the signs of a glob be meant: a folder may be called ``data [v2]``.
    """
    base, rest = Path(path.anchor), list(path.parts[bool(path.anchor) :])
    while rest and (base / rest[0]).is_dir():
        base /= rest.pop(0)
    return base, "/".join(rest)


def _files_below(folder: Path) -> list[Path]:
    """Return the data files below a folder, which may be that of a project or hold projects."""
    found = sorted(folder.rglob("*"))
    projects = {path.parent for path in found if path.name == FILE_NAME}
    left_out = {project / "plugins" if project == folder else project for project in projects}
    return [p for p in found if _is_data(p, folder) and left_out.isdisjoint(p.parents)]


def _is_data(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    other = path.name == FILE_NAME or _DOCUMENTATION.match(path.name)
    return path.is_file() and not hidden and not other


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    names = [item.name for item in sorted(path.parent.iterdir())]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return sentence("core.did_you_mean", name=near[0]).strip() if near else ""


def _name(path: Path, root: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return Path(os.path.normpath(path)).as_posix()


def name_splits(files: Sequence[SourceFile], source: str) -> list[SourceFile]:
    """Return the files with splits read off their names, when the names tell them all.

    Training files come first.

    Args:
        files: Files without splits.
        source: How the user wrote the source, for the error.

    Raises:
        InputError: Only some names tell a split (``DATA-047``).
    """
    named = [dataclasses.replace(file, split=_split_in(file.path)) for file in files]
    found = {file.split for file in named}
    if "train" not in found or not found & {"validation", "test"}:
        return list(files)
    for file in named:
        if file.split is None:
            raise InputError("DATA-047", path=source, file=file.name)
    return [file for split in SPLITS for file in named if file.split == split]


def _split_in(path: Path) -> SplitName | None:
    words = _SPLIT_WORD.findall(path.name.lower())
    return _SPLIT_OF[words[0]] if words else None
