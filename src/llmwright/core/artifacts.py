"""The content-addressed store: folders that are complete, hashed and never changed.

An artifact is written into a temporary folder, synced to disk, described by ``manifest.json``
(every file with its size and SHA-256) and renamed into place in one step. Its id is the hash of
its kind and files, so the same content is the same artifact.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.errors import CheckError, InputError, closest
from llmwright.core.index import is_alive, process_started

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
            CheckError: The manifest is damaged (``CORE-033``).
        """
        manifest = read_manifest(path)
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
            path = self._drafts / _owned_name()
            path.mkdir()
            draft = Draft(path, kind)
            try:
                yield draft
                draft.artifact = self._publish(draft)
            finally:
                shutil.rmtree(path, ignore_errors=True)

    def _publish(self, draft: Draft) -> Artifact:
        listing = list_files(draft.path)
        identity = identity_of(draft.kind, listing)
        target = self.root / draft.kind / identity
        if self._is_sound(target):
            return Artifact.open(target)
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
        # The manifest vouches for the files, the digest for the manifest.
        manifest = json.loads(json.dumps(manifest, default=str))
        manifest["digest"] = files.sha256_json(manifest)
        files.write_json(draft.path / MANIFEST, manifest)
        for folder in [draft.path, *(p for p in draft.path.rglob("*") if p.is_dir())]:
            files.sync_folder(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._move_into_place(draft.path, target)
        return Artifact.open(target)

    def _is_sound(self, target: Path) -> bool:
        if not target.exists():
            return False
        try:
            check(Artifact.open(target))
        except (InputError, CheckError):
            return False
        return True

    def _move_into_place(self, draft: Path, target: Path) -> None:
        for _ in range(3):
            try:
                draft.rename(target)
            except OSError:
                # Another process published the same content a moment ago, or a damaged folder is
                # in the way: the first is what we want, the second makes room.
                if not target.exists():
                    raise
                if self._is_sound(target):
                    return
                self._discard(target)
            else:
                files.sync_folder(target.parent)
                return
        raise CheckError("CORE-034", path=target)

    def _discard(self, folder: Path) -> None:
        """Take a folder out of sight in one step, then delete it."""
        hidden = self._drafts / _owned_name()
        self._drafts.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        for path in self._drafts.iterdir():
            parts = path.name.split("-")
            if len(parts) != 3 or not (parts[0] + parts[1]).isdigit():
                continue
            if not is_alive(int(parts[0]), int(parts[1]) / 100):
                shutil.rmtree(path, ignore_errors=True)

    def list(self) -> list[Artifact]:
        """Return all artifacts, by kind and id."""
        return [Artifact.open(path.parent) for path in sorted(self.root.glob(f"*/*/{MANIFEST}"))]

    def get(self, identity: str) -> Artifact | None:
        """Return the artifact with exactly this id, or None."""
        for manifest in self.root.glob(f"*/{glob.escape(identity)}/{MANIFEST}"):
            return Artifact.open(manifest.parent)
        return None

    def find(self, identity: str) -> Artifact:
        """Return the artifact whose id starts with ``identity``.

        Raises:
            InputError: None or several do (``CORE-031``).
        """
        stored = self.list()
        found = [a for a in stored if a.id.startswith(identity)]
        if len(found) != 1:
            hint = closest(identity, (a.id for a in found or stored))
            raise InputError("CORE-031", identity=identity, count=len(found), hint=hint)
        return found[0]

    def remove(self, artifact: Artifact) -> None:
        """Delete an artifact's folder; a kill on the way leaves nothing visible.

        Raises:
            ResourceError: No permission (``CORE-021``).
        """
        with files.disk_errors(artifact.path):
            self._discard(artifact.path)


def _owned_name() -> str:
    """Return a new name that says whose it is: a later process removes those of dead ones."""
    started = process_started(os.getpid()) or time.time()
    return f"{os.getpid()}-{round(started * 100)}-{uuid.uuid4().hex[:8]}"


def identity_of(kind: str, listing: dict[str, dict[str, Any]]) -> str:
    """Return the id of content: the same kind and files, the same id."""
    return files.sha256_json({"kind": kind, "files": listing})[:ID_LENGTH]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of an artifact's folder.

    Raises:
        InputError: There is none (``CORE-030``).
        CheckError: It is damaged (``CORE-033``).
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError("CORE-030", path=folder)
    try:
        manifest: dict[str, Any] = files.read_json(path)
        expected = manifest.pop("digest")
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckError("CORE-033", path=path) from error
    if files.sha256_json(manifest) != expected:
        raise CheckError("CORE-033", path=path)
    return manifest


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size in bytes and SHA-256 of each file below a folder."""
    listing: dict[str, dict[str, Any]] = {}
    own = folder / MANIFEST
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != own):
        name = path.relative_to(folder).as_posix()
        listing[name] = {"size_bytes": path.stat().st_size, "sha256": files.sha256_file(path)}
    return listing


def size_bytes(artifact: Artifact) -> int:
    """Return the size of an artifact's files in bytes, as its manifest says."""
    listing = read_manifest(artifact.path)["files"]
    return sum(entry["size_bytes"] for entry in listing.values())


def check(artifact: Artifact) -> None:
    """Compare every byte of an artifact with its manifest.

    Raises:
        CheckError: A file is missing, added or changed (``CORE-032``), or the manifest is
            (``CORE-033``).
    """
    expected: dict[str, dict[str, Any]] = read_manifest(artifact.path)["files"]
    found = list_files(artifact.path)
    wrong = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
    if wrong or identity_of(artifact.kind, expected) != artifact.id:
        named = ", ".join(wrong) or MANIFEST
        raise CheckError("CORE-032", identity=artifact.id, path=artifact.path, files=named)
