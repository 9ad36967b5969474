"""API keys at rest: a file with a salted hash, scopes and limits of each; never a key itself.

A key is 256 random bits, so one keyed hash of it is as good as a slow one against guessing, and is
checked with every request. What a person chose (``--api-key``, a file with plain lines) is hashed
too, but only in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from llmwright.core import files
from llmwright.core.errors import ConfigError, InputError, closest
from llmwright.core.locale import text

# infer: everything that answers with a model; metrics: /metrics; admin: what changes the server.
Scope = Literal["infer", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_FILE = "keys.json"
PREFIX = "llmw"
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_LOCK_TRIES = 400

Limit = Annotated[int, Field(ge=1)]


class Key(BaseModel):
    """Who may ask, and how much.

    Attributes:
        id: How logs, metrics of limits and `revoke_key` call it.
        name: Whose it is, in the operator's words.
        digest: Keyed hash of the key, in hexadecimal.
        scopes: What it opens.
        models: Names of models it may ask; all when empty.
        requests_per_minute: Most requests; None for no limit.
        tokens_per_minute: Most tokens read and written; None for no limit.
        max_concurrency: Most requests at the same time; None for no limit.
        created: When it was made, UTC.
        expires: From when it holds no more, UTC; None for never.
        revoked: When it was taken back, UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    name: str = ""
    digest: str = ""
    scopes: tuple[Scope, ...] = ("infer", "metrics")
    models: tuple[str, ...] = ()
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    max_concurrency: Limit | None = None
    created: str = ""
    expires: AwareDatetime | None = None
    revoked: str | None = None

    def holds(self) -> bool:
        """Say whether it is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or datetime.now(UTC) < self.expires)

    def opens(self, scope: Scope) -> bool:
        """Say whether it opens what has this scope."""
        return scope in self.scopes

    def allows(self, model: str) -> bool:
        """Say whether it may ask a model of this name."""
        return not self.models or model in self.models


class KeyFile(BaseModel):
    """The content of a file of keys.

    Attributes:
        version: Of the format.
        salt: Mixed into each hash, so that equal keys of two files do not look equal.
        keys: All keys ever made here, revoked ones too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    salt: Annotated[str, Field(min_length=32)]
    keys: tuple[Key, ...] = ()


def digest_of(key: str, salt: str) -> str:
    """Return the keyed hash of a key."""
    return hmac.new(salt.encode(), key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def parse_file(content: str, path: Path) -> KeyFile:
    """Return the keys in a file's text.

    Raises:
        ConfigError: It is no file of keys (``SERVE-004``).
    """
    try:
        return KeyFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = text("serving.key_file_damaged", path=path, place=place or "-", said=first["msg"])
        raise ConfigError("SERVE-004", where="api_key_file", reason=reason) from error


def create_key(
    name: str,
    *,
    file: Path | str = DEFAULT_FILE,
    scopes: Sequence[str] = ("infer", "metrics"),
    models: Sequence[str] = (),
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    max_concurrency: int | None = None,
    days: int | None = None,
) -> tuple[Key, str]:
    """Make a key, enter it in a file of keys, and return both; the plain key is kept nowhere.

    Args:
        name: Whose it is.
        file: The file; made when missing, readable by its owner alone.
        scopes: What the key opens: ``infer``, ``metrics``, ``admin``.
        models: Names of models it may ask; all when empty.
        requests_per_minute: Most requests, from 1; no limit when None.
        tokens_per_minute: Most tokens read and written, from 1; no limit when None.
        max_concurrency: Most requests at the same time, from 1; no limit when None.
        days: After how many days it expires, from 1; never when None.

    Raises:
        ConfigError: A scope is unknown (``SERVE-010``), a limit is below 1 (``SERVE-011``), or
            the file holds something else (``SERVE-004``).
        ResourceError: The file cannot be written, or another process holds it.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise ConfigError("SERVE-010", scope=scope, hint=closest(scope, SCOPES))
    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_concurrency": max_concurrency,
    }
    for what, value in {**limits, "days": days}.items():
        if value is not None and value < 1:
            raise ConfigError("SERVE-011", what=what, value=value)
    key_id = secrets.token_hex(4)
    plain = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC)
    with _editing(Path(file)) as held:
        made = Key(
            id=key_id,
            name=name,
            digest=digest_of(plain, held.content.salt),
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            models=tuple(models),
            created=now.strftime(_STAMP),
            expires=None if days is None else now.replace(microsecond=0) + timedelta(days=days),
            **limits,
        )
        held.content = held.content.model_copy(update={"keys": (*held.content.keys, made)})
    return made, plain


def revoke_key(key: str, *, file: Path | str = DEFAULT_FILE) -> Key:
    """Take a key back; running servers refuse it from their next request on.

    Args:
        key: Its id, or its name where only one has it.
        file: The file it is in.

    Raises:
        InputError: No key that holds has this id or name, or several have the name (``SERVE-012``).
        ConfigError: The file cannot be read (``SERVE-004``).
    """
    with _editing(Path(file)) as held:
        valid = [one for one in held.content.keys if one.revoked is None]
        found = [one for one in valid if one.id == key] or [o for o in valid if o.name == key]
        if len(found) != 1:
            names = ", ".join(f"{one.id} ({one.name})" for one in found or valid) or "-"
            raise InputError("SERVE-012", key=key, file=file, names=names)
        gone = found[0].model_copy(update={"revoked": time.strftime(_STAMP, time.gmtime())})
        kept = tuple(gone if one.id == gone.id else one for one in held.content.keys)
        held.content = held.content.model_copy(update={"keys": kept})
    return gone


def list_keys(*, file: Path | str = DEFAULT_FILE) -> list[Key]:
    """Return all keys of a file, revoked ones too.

    Raises:
        ConfigError: The file cannot be read, or holds something else (``SERVE-004``).
    """
    return list(_read(Path(file)).keys)


def _read(path: Path) -> KeyFile:
    try:
        return parse_file(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error.reason
        reason = f"{path}: {said}"
        raise ConfigError("SERVE-004", where="api_key_file", reason=reason) from error


class _Held:
    """The content of a file while nobody else changes it."""

    def __init__(self, content: KeyFile) -> None:
        self.content = content


@contextlib.contextmanager
def _editing(path: Path) -> Iterator[_Held]:
    """Hold a file of keys, let it be changed, and write it as a whole."""
    beside = path.with_name(f".{path.name}.lock")
    lock = files.hold(beside, _LOCK_TRIES)
    if lock is None:
        raise InputError("SERVE-013", file=path)
    with lock:
        held = _Held(_read(path) if path.exists() else KeyFile(salt=secrets.token_hex(32)))
        before = held.content
        yield held
        if held.content is not before:
            files.write_json(path, _plain(held.content), private=True)
        beside.unlink(missing_ok=True)


def _plain(content: KeyFile) -> dict[str, Any]:
    """Return what is written: without settings that nobody made."""
    keys = [one.model_dump(mode="json", exclude_defaults=True) for one in content.keys]
    # Who reads the file must see what a key opens, even where it is as usual.
    keys = [{**o, "scopes": list(k.scopes)} for o, k in zip(keys, content.keys, strict=True)]
    return {"version": content.version, "salt": content.salt, "keys": keys}
