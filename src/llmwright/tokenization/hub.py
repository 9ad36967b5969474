"""Local folder or hub id: where the files of a published tokenizer or model are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmwright.core.errors import InputError, ResourceError
from llmwright.tokenization.config import located

# Without an answer within this time the hub counts as not reachable; downloads may take long.
TIMEOUT_SECONDS = 10.0

TOKENIZER_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "merges*", "*.bpe")
MODEL_FILES = (*TOKENIZER_FILES, "*.safetensors")


def find_local(name: str | Path, root: Path | None = None) -> Path | None:
    """Return the file or folder a name stands for, or None where it must be a hub id.

    Args:
        name: A path, absolute or from ``root``, or a hub id (``owner/name`` or ``name``).
        root: Where relative paths start; the current folder when not given.

    Raises:
        InputError: It is written like a path, but nothing is there (``TOK-010``).
    """
    path = located(name, root or Path())
    if path.exists():
        return path
    written = str(name)
    is_path = (
        isinstance(name, Path) or written.startswith((".", "/", "~")) or written.count("/") > 1
    )
    if is_path or "\\" in written or Path(written).suffix in (".json", ".model", ".txt", ".bpe"):
        raise InputError("TOK-010", path=path)
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def fetch(name: str, revision: str | None = None, patterns: Sequence[str] = MODEL_FILES) -> Path:
    """Return the local folder with a hub repository's files, downloaded when needed.

    What was downloaded before is used when the hub cannot be reached. The folder's name is the
    commit. No file with code or pickled weights is among the patterns.

    Args:
        name: Hub id.
        revision: Branch, tag or commit; the main branch when not given.
        patterns: Which files.

    Raises:
        InputError: Not an id (``TOK-015``), or no such repository or revision, or no access to it
            (``TOK-016``).
        ResourceError: The hub cannot be reached and nothing was downloaded before (``TOK-017``).
    """
    import httpx
    from huggingface_hub import constants, errors, snapshot_download

    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(patterns), etag_timeout=TIMEOUT_SECONDS
        )
    except errors.HFValidationError as error:
        raise InputError("TOK-015", name=name) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        found = revision or "main"
        raise InputError("TOK-016", name=name, revision=found, hub=constants.ENDPOINT) from error
    except (OSError, errors.HfHubHTTPError, errors.OfflineModeIsEnabled, httpx.HTTPError) as error:
        reason = first_line(error.__cause__ or error)
        raise ResourceError("TOK-017", name=name, hub=constants.ENDPOINT, reason=reason) from error
    return Path(folder)
