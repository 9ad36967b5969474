"""The content-addressed store: folders that are complete, hashed and never changed.

An artifact is written into a temporary folder, synced to disk, described by ``manifest.json``
(every file with its size and SHA-256) and renamed into place in one step. Its id is the hash of
its kind and files, so the same content is the same artifact.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from llmwright.core import files
from llmwright.core.errors import CheckError, ConfigError, InputError, closest

MANIFEST = "manifest.json"
LOCK = ".lock"
# Kinds of artifacts whose metadata name one of another kind that may be taken for them where that
# kind is needed: a study stands for its best model.
HOLDERS = {"study": "model"}
ID_LENGTH = 16


@dataclass(frozen=True)
class Artifact:
    """A finished folder.

    Attributes:
        id: First 16 hexadecimal digits of the content hash.
        kind: dataset, tokenizer, model, study, report, export or bundle.
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
        self.home = root
        self.root = root / "artifacts"
        self._drafts = root / "drafts"

    @contextlib.contextmanager
    def draft(self, kind: str) -> Iterator[Draft]:
        """Yield a folder to fill; on a clean exit it becomes an artifact, else it is removed.

        Raises:
            ResourceError: Disk full (``CORE-020``) or folder not writable (``CORE-021``).
        """
        with files.disk_errors(self.root):
            self._remove_abandoned()
            with self._own_folder() as path:
                path.mkdir()
                draft = Draft(path, kind)
                yield draft
                draft.artifact = self._publish(draft)

    @contextlib.contextmanager
    def _own_folder(self) -> Iterator[Path]:
        """Yield a new path that is this process's own, as a lock says; removed in the end."""
        path = self._drafts / uuid.uuid4().hex
        held = files.hold(_lock_of(path))
        assert held is not None, f"{path} has a new name and yet is held"
        with _removing(path, held):
            yield path

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
        manifest = json.loads(files.to_json(manifest))
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
        with self._own_folder() as hidden, contextlib.suppress(FileNotFoundError):
            folder.rename(hidden)

    def _remove_abandoned(self) -> None:
        """Remove what processes that ended left behind: folders whose lock is free."""
        found = self._drafts.iterdir() if self._drafts.is_dir() else ()
        for path in {_draft_of(p) for p in found if p.is_dir() or p.suffix == LOCK}:
            held = files.hold(_lock_of(path), tries=1)
            if held is not None:
                with _removing(path, held):
                    pass

    def folders(self) -> list[Path]:
        """Return the folders of all artifacts, by kind and id, damaged ones too."""
        return sorted(path for path in self.root.glob("*/*") if path.is_dir())

    def list(self) -> list[Artifact]:
        """Return all artifacts, by kind and id.

        Raises:
            CheckError: A manifest is damaged (``CORE-033``).
        """
        return [Artifact.open(path) for path in self.folders()]

    def folder(self, identity: str) -> Path | None:
        """Return the folder of the artifact with exactly this id, sound or not, or None."""
        found = [kind / identity for kind in self.root.glob("*") if identity]
        return next((path for path in found if path.is_dir()), None)

    def get(self, identity: str) -> Artifact | None:
        """Return the artifact with exactly this id, or None.

        Raises:
            CheckError: Its manifest is damaged (``CORE-033``).
        """
        folder = self.folder(identity)
        return Artifact.open(folder) if folder else None

    def meant(self, artifact: Artifact, kinds: Sequence[str]) -> Artifact | None:
        """Return the artifact of one of these kinds that another stands for, mostly itself.

        Raises:
            CheckError: Its manifest is damaged (``CORE-033``).
        """
        if artifact.kind in kinds:
            return artifact
        held = HOLDERS.get(artifact.kind, "")
        return self.get(str(artifact.metadata.get(held, ""))) if held in kinds else None

    def is_whole(self, artifact: Artifact) -> bool:
        """Say whether what an artifact stands for is there too."""
        held = HOLDERS.get(artifact.kind)
        return held is None or self.folder(str(artifact.metadata.get(held, ""))) is not None

    def find(self, identity: str, kinds: Sequence[str] = ()) -> Path:
        """Return the folder of the artifact whose id starts with ``identity``, sound or not.

        Args:
            identity: Beginning of the id.
            kinds: What is looked for, to suggest no other; all kinds when empty.

        Raises:
            ConfigError: None or several do (``CORE-031``).
        """
        stored = self.folders()
        found = [path for path in stored if path.name.startswith(identity)]
        if len(found) != 1:
            near = [p for p in found or stored if not kinds or p.parent.name in kinds]
            hint = closest(identity, (path.name for path in near))
            raise ConfigError("CORE-031", identity=identity, count=len(found), hint=hint)
        return found[0]

    def remove(self, folder: Path) -> None:
        """Delete an artifact's folder; a kill on the way leaves nothing visible.

        Raises:
            ResourceError: No permission (``CORE-021``).
        """
        with files.disk_errors(folder):
            self._discard(folder)


def _lock_of(draft: Path) -> Path:
    return draft.with_name(draft.name + LOCK)


def _draft_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(LOCK))


@contextlib.contextmanager
def _removing(path: Path, held: IO[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        held.close()
        _lock_of(path).unlink(missing_ok=True)


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


def refuse_changed(folder: Path, max_bytes: int) -> bool:
    """Compare the files of an artifact's folder with its manifest, and return whether wholly.

    Files that were added are let be: nothing that is listed reads them.

    Args:
        folder: With a manifest.
        max_bytes: Of all files together up to which contents are compared; of larger ones, sizes.

    Raises:
        CheckError: A file is missing or changed (``CORE-032``), or the manifest is (``CORE-033``).
    """
    manifest = read_manifest(folder)
    listed: dict[str, dict[str, Any]] = manifest["files"]
    whole = sum(int(facts["size_bytes"]) for facts in listed.values()) <= max_bytes
    wrong = []
    for name, facts in sorted(listed.items()):
        path = folder / name
        same = path.is_file() and path.stat().st_size == facts["size_bytes"]
        if not same or (whole and files.sha256_file(path) != facts["sha256"]):
            wrong.append(name)
    if wrong:
        named = ", ".join(wrong)
        raise CheckError("CORE-032", identity=manifest["id"], path=folder, files=named)
    return whole
