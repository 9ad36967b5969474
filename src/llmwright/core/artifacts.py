"""The content-addressed store: folders that are complete, hashed and never changed.

An artifact is written into a temporary folder, synced to disk, described by ``manifest.json``
(every file with its size and SHA-256) and renamed into place in one step. Its id is the hash of
its kind and files, so the same content is the same artifact.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from llmwright.core import files
from llmwright.core.errors import CheckError, InputError, closest

MANIFEST = "manifest.json"
ID_LENGTH = 16


@dataclass(frozen=True)
class Artifact:
    """A finished folder.

    Attributes:
        id: First 16 hexadecimal digits of the content hash.
        kind: dataset, tokenizer, model, report, export or bundle.
        path: The folder.
        metadata: What its maker wrote about it (JSON).
    """

    id: str
    kind: str
    path: Path
    metadata: dict[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Return the artifact in a folder.

        Raises:
            InputError: The folder has no manifest (``CORE-030``).
        """
        if not (path / MANIFEST).is_file():
            raise InputError("CORE-030", path=path)
        manifest = files.read_json(path / MANIFEST)
        return cls(manifest["id"], manifest["kind"], path, manifest["metadata"])


@dataclass
class Draft:
    """A folder being filled; `artifact` is set once it is complete."""

    path: Path
    kind: str
    metadata: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    artifact: Artifact | None = None


class Store:
    """The artifacts of one project, below ``.llmwright/artifacts``.

    Args:
        root: The project's ``.llmwright`` folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "artifacts"
        self._drafts = root / "drafts"

    @contextlib.contextmanager
    def draft(self, kind: str) -> Iterator[Draft]:
        """Yield a folder to fill; on a clean exit it becomes an artifact, else it is removed.

        Raises:
            ResourceError: Disk full (``CORE-020``) or folder not writable (``CORE-021``).
        """
        with files.disk_errors(self.root):
            self._drafts.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            # The name says whose it is: a later process removes the drafts of dead ones.
            path = self._drafts / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            path.mkdir()
            draft = Draft(path, kind)
            try:
                yield draft
                draft.artifact = self._publish(draft)
            finally:
                shutil.rmtree(path, ignore_errors=True)

    def _publish(self, draft: Draft) -> Artifact:
        listing = list_files(draft.path)
        identity = files.sha256_json({"kind": draft.kind, "files": listing})[:ID_LENGTH]
        target = self.root / draft.kind / identity
        if not target.exists():
            for name in listing:
                files.sync_file(draft.path / name)
            manifest = {
                "id": identity,
                "kind": draft.kind,
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "metadata": draft.metadata,
                "origin": draft.origin,
                "files": listing,
            }
            files.write_json(draft.path / MANIFEST, manifest)
            for folder in [draft.path, *(p for p in draft.path.rglob("*") if p.is_dir())]:
                files.sync_folder(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.path.rename(target)
            files.sync_folder(target.parent)
        return Artifact.open(target)

    def _remove_abandoned(self) -> None:
        for path in self._drafts.iterdir():
            owner = int(path.name.split("-")[0])
            if not psutil.pid_exists(owner):
                shutil.rmtree(path, ignore_errors=True)

    def list(self) -> list[Artifact]:
        """Return all artifacts, by kind and id."""
        return [Artifact.open(path.parent) for path in sorted(self.root.glob(f"*/*/{MANIFEST}"))]

    def find(self, identity: str) -> Artifact:
        """Return the artifact whose id starts with ``identity``.

        Raises:
            InputError: None or several do (``CORE-031``).
        """
        found = [a for a in self.list() if a.id.startswith(identity)]
        if len(found) != 1:
            hint = closest(identity, (a.id for a in found or self.list()))
            raise InputError("CORE-031", identity=identity, count=len(found), hint=hint)
        return found[0]

    def remove(self, artifact: Artifact) -> None:
        """Delete an artifact's folder."""
        shutil.rmtree(artifact.path)


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size in bytes and SHA-256 of each file below a folder."""
    listing: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        name = path.relative_to(folder).as_posix()
        listing[name] = {"size_bytes": path.stat().st_size, "sha256": files.sha256_file(path)}
    return listing


def size_bytes(artifact: Artifact) -> int:
    """Return the size of an artifact's files in bytes, as its manifest says."""
    listing = files.read_json(artifact.path / MANIFEST)["files"]
    return sum(entry["size_bytes"] for entry in listing.values())


def check(artifact: Artifact) -> None:
    """Compare every byte of an artifact with its manifest.

    Raises:
        CheckError: A file is missing, added or changed (``CORE-032``).
    """
    expected: dict[str, dict[str, Any]] = files.read_json(artifact.path / MANIFEST)["files"]
    found = list_files(artifact.path)
    wrong = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
    if wrong:
        raise CheckError(
            "CORE-032", identity=artifact.id, path=artifact.path, files=", ".join(wrong)
        )
