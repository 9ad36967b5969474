"""Who may ask: API keys, compared in constant time and kept only as hashes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import Headers

from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.serving.config import ServeConfig

# Health probes of orchestrators carry no key; everything else needs one.
OPEN_ROUTES = ("/livez", "/readyz")
ANONYMOUS = "-"


class Keys:
    """The keys that open a server; without any, it is open.

    Args:
        keys: The keys as given by the user.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def holder(self, headers: Headers) -> str | None:
        """Return the id of the key a request carries (8 digits of its hash), None if it has none.

        Browsers cannot send ``Bearer`` when a page is opened, so the key is also taken as the
        password of ``Basic``, but never for a request that another site made them send.
        """
        if not self._digests:
            return ANONYMOUS
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic" and headers.get("sec-fetch-site") != "cross-site":
            given = _password(given)
        elif scheme.lower() != "bearer":
            return None
        digest = _digest(given.strip())
        # All are compared, so that the time does not tell which key was nearly right.
        found = [known for known in self._digests if hmac.compare_digest(known, digest)]
        return found[0][:8] if found else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def read_keys(config: ServeConfig, root: Path) -> list[str]:
    """Return all keys a config names; none when the server is open to this machine only.

    Args:
        config: The settings.
        root: Folder that a relative ``api_key_file`` starts from.

    Raises:
        ConfigError: The address is not loopback and there is no key (``SERVE-001``), or a key or
            the file of keys is empty, cannot be read or not be sent (``SERVE-004``).
    """
    keys: list[str] = []
    if config.api_key is not None:
        keys.append(_checked(config.api_key.get_secret_value().strip(), "api_key", "api_key"))
    if config.api_key_file is not None:
        keys += _read_file(root / config.api_key_file.expanduser())
    if not keys and not config.is_loopback():
        raise ConfigError("SERVE-001", where="host", host=config.host)
    return keys


def _read_file(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        reason = f"{path}: {error.strerror}"
        raise ConfigError("SERVE-004", where="api_key_file", reason=reason) from error
    except UnicodeDecodeError as error:
        reason = f"{path}: {error.reason}"
        raise ConfigError("SERVE-004", where="api_key_file", reason=reason) from error
    keys = []
    for number, line in enumerate(lines, start=1):
        # A "#" inside of a key is a part of it.
        if key := re.split(r"(?:^|\s)#", line)[0].strip():
            keys.append(_checked(key, f"{path}:{number}", "api_key_file"))
    if not keys:
        reason = text("serving.key_file_empty", path=path)
        raise ConfigError("SERVE-004", where="api_key_file", reason=reason)
    return keys


def _checked(key: str, place: str, where: str) -> str:
    """Return a key that a header can carry."""
    if not key:
        raise ConfigError("SERVE-004", where=where, reason=text("serving.key_empty"))
    if not (key.isascii() and key.isprintable()):
        reason = text("serving.key_not_ascii", place=place)
        raise ConfigError("SERVE-004", where=where, reason=reason)
    return key
