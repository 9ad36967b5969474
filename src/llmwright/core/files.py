"""Files that a crash leaves in the old state or the new one, and locks that end with a process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from llmwright.core.errors import LLMwrightError, ResourceError

CHUNK_BYTES = 1 << 20
# No space left, quota reached, file larger than allowed.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Between two tries to take a lock; who only looks holds it for less.
LOCK_PAUSE_SECONDS = 0.005


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


def write_json(path: Path, value: Any, private: bool = False) -> None:
    """Write JSON atomically: a temporary file beside it, fsync, rename.

    Args:
        path: The file.
        value: What is written.
        private: Whether only its owner may read it (POSIX).

    Raises:
        ResourceError: As `disk_errors`.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    text = to_json(value, indent=2)
    with disk_errors(path):
        try:
            if private:
                temporary.touch(mode=0o600)
            temporary.write_text(text + "\n", encoding="utf-8")
            sync_file(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON as every reader takes it: ``NaN`` and infinity, which JSON has not, are null."""
    return json.dumps(
        _finite(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def drop_cut_line(path: Path) -> None:
    """Remove the half line that a kill left: what is written next must not be joined to it."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def read_json(path: Path) -> Any:
    """Return the JSON value of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def hold(path: Path, tries: int = 20) -> IO[bytes] | None:
    """Lock a file, made when missing, and return it open; None where another process holds it.

    Closing the file ends the lock, and so does the end of the process, whatever ended it. The
    system keeps it: clocks and process numbers do not matter, and other containers see it too.

    Args:
        path: The file; it may be removed while it is held.
        tries: How often to try, at least once.

    Raises:
        ResourceError: As `disk_errors`; also where the file system has no locks (``CORE-021``).
    """
    with disk_errors(path):
        for turn in range(tries):
            time.sleep(LOCK_PAUSE_SECONDS if turn else 0)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
            if _lock(file, path) and _is_at(file, path):
                return file
            file.close()
    return None


def is_held(path: Path) -> bool:
    """Say whether a process holds a file; also where that cannot be seen."""
    try:
        with path.open("rb") as file:
            return not _lock(file, path, alone=False)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Say whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[bytes], path: Path, alone: bool = True) -> bool:
    """Take a lock at once, alone or with others who only look; say whether it was free."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ResourceError("CORE-021", path=path, reason=reason) from error
    return True


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
