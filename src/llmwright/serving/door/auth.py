"""Who may ask: API keys, compared in constant time and kept only as hashes."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import os
import re
import secrets
from contextvars import ContextVar
from pathlib import Path

from starlette.datastructures import Headers

from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.keys import Key, Scope, digest_of, parse_file

LOGGER = logging.getLogger("llmwright.serving")

# Health probes of orchestrators carry no key; everything else needs one.
OPEN_ROUTES = ("/livez", "/readyz", "/startupz")
# What a route's key must open, where it is not "infer"; what begins with a path belongs to it.
SCOPE_OF_ROUTE: dict[str, Scope] = {
    "/metrics": "metrics",
    "/admin": "admin",
    "/v1/load_lora_adapter": "admin",
    "/v1/unload_lora_adapter": "admin",
    "/v1/lora_adapters": "admin",
}
# Who asks an open server: everybody on this machine, but what changes the server needs a key.
ANYBODY = Key(id="-", scopes=("infer", "metrics"))
# Keys without a file of scopes open all that is not administration.
PLAIN_SCOPES: tuple[Scope, ...] = ("infer", "metrics")

# Whose request the current task answers.
HOLDER: ContextVar[Key] = ContextVar("holder", default=ANYBODY)

Entry = tuple[str, Key]


def scope_of(path: str) -> Scope:
    """Return what a key must open for a route."""
    for route, scope in SCOPE_OF_ROUTE.items():
        if path == route or path.startswith(f"{route}/"):
            return scope
    return "infer"


class Keys:
    """The keys that open a server; without any, it is open.

    Args:
        plain: Keys as given by the user, each with the id that logs call it by.
        file: A file of keys (made by ``llmwright keys``, or one plain key per line) that is read
            again whenever it changes.

    Raises:
        ConfigError: The file cannot be used (``SERVE-004``).
    """

    def __init__(self, plain: dict[str, str] | None = None, file: Path | None = None) -> None:
        self._salt = secrets.token_hex(32)
        self._plain = self._hashed(plain or {})
        self._file = file
        self._stamp = _stamp(file)
        self._salt_of_file, self._entries = self._read(file) if file else (self._salt, [])
        # A server that began with keys never opens because its file went away.
        self._needed = bool(self._plain) or file is not None

    def __bool__(self) -> bool:
        return self._needed

    def __len__(self) -> int:
        return len(self._plain) + sum(key.holds() for _, key in self._entries)

    def holder(self, headers: Headers) -> Key | None:
        """Return the key a request carries, None where it carries none that holds.

        Browsers cannot send ``Bearer`` when a page is opened, so the key is also taken as the
        password of ``Basic``, but never for a request that another site made them send.
        """
        if not self._needed:
            return ANYBODY
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic" and headers.get("sec-fetch-site") != "cross-site":
            given = _password(given)
        elif scheme.lower() != "bearer":
            return None
        self._follow_file()
        found = [
            key
            for salt, entries in ((self._salt, self._plain), (self._salt_of_file, self._entries))
            for key in _matching(digest_of(given.strip(), salt), entries)
        ]
        return found[0] if found and found[0].holds() else None

    def _follow_file(self) -> None:
        """Read the file again if it changed; one that cannot be read opens nothing."""
        if self._file is None or (stamp := _stamp(self._file)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._salt_of_file, self._entries = self._read(self._file)
        except ConfigError as error:
            LOGGER.error("No key of the file holds until it can be read: %s", error)
            self._entries = []

    def _read(self, path: Path) -> tuple[str, list[Entry]]:
        """Return the salt of a file and its keys."""
        try:
            content = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else error.reason
            reason = f"{path}: {said}"
            raise ConfigError("SERVE-004", where="api_key_file", reason=reason) from error
        if content.lstrip().startswith("{"):
            held = parse_file(content, path)
            return held.salt, [(key.digest, key) for key in held.keys]
        return self._salt, self._hashed(_lines(content, path))

    def _hashed(self, plain: dict[str, str]) -> list[Entry]:
        return [
            (digest_of(key, self._salt), Key(id=name, scopes=PLAIN_SCOPES))
            for name, key in plain.items()
        ]


def _matching(digest: str, entries: list[Entry]) -> list[Key]:
    # All are compared, so that the time does not tell which key was nearly right.
    return [key for known, key in entries if hmac.compare_digest(known, digest)]


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None where there is none."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def read_keys(config: ServeConfig, root: Path) -> Keys:
    """Return all keys a config names; none when the server is open to this machine only.

    Args:
        config: The settings.
        root: Folder that a relative ``api_key_file`` starts from.

    Raises:
        ConfigError: The address is not loopback and there is no key (``SERVE-001``), or a key or
            the file of keys is empty, cannot be read or not be sent (``SERVE-004``).
    """
    plain: dict[str, str] = {}
    if config.api_key is not None:
        given = config.api_key.get_secret_value().strip()
        plain["api_key"] = _checked(given, "api_key", "api_key")
    file = root / config.api_key_file.expanduser() if config.api_key_file is not None else None
    keys = Keys(plain, file)
    if not keys and not config.is_loopback():
        raise ConfigError("SERVE-001", where="host", host=config.host)
    if file is not None and not len(keys):
        reason = text("serving.key_file_empty", path=file)
        raise ConfigError("SERVE-004", where="api_key_file", reason=reason)
    return keys


def _lines(content: str, path: Path) -> dict[str, str]:
    """Return the plain keys of a file by the lines they are in."""
    keys: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        # A "#" inside of a key is a part of it.
        if key := re.split(r"(?:^|\s)#", line)[0].strip():
            keys[f"line-{number}"] = _checked(key, f"{path}:{number}", "api_key_file")
    return keys


def _checked(key: str, place: str, where: str) -> str:
    """Return a key that a header can carry."""
    if not key:
        raise ConfigError("SERVE-004", where=where, reason=text("serving.key_empty"))
    if not (key.isascii() and key.isprintable()):
        reason = text("serving.key_not_ascii", place=place)
        raise ConfigError("SERVE-004", where=where, reason=reason)
    return key
