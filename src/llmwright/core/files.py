"""Writing files so that a crash leaves the old state or the new one, never something between."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmwright.core.errors import LLMwrightError, ResourceError

CHUNK_BYTES = 1 << 20
# No space left, quota reached, file larger than allowed.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in one canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until a folder's list of names is on the disk (POSIX only)."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: a temporary file beside it, fsync, rename.

    Raises:
        ResourceError: As `disk_errors`.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str)
    with disk_errors(path):
        try:
            temporary.write_text(text + "\n", encoding="utf-8")
            sync_file(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Return the JSON value of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or an unusable file into a clear error.

    Raises:
        ResourceError: ``CORE-020`` no space left or quota reached; ``CORE-021`` no permission.
    """
    try:
        yield
    except LLMwrightError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        place = getattr(error, "filename", None) or path
        if number in FULL or _says_full(error):
            raise ResourceError("CORE-020", path=place) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ResourceError("CORE-021", path=place, reason=os.strerror(number)) from error
        raise


def _says_full(error: Exception) -> bool:
    """Say whether a library (safetensors, polars, torch, SQLite) reports a full disk in words."""
    said = str(error).lower()
    return any(os.strerror(number).lower() in said for number in FULL) or (
        "disk is full" in said or "pytorchstreamwriter failed writing" in said
    )
