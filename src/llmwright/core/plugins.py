"""A project's own ``plugins/*.py``, loaded only after the user agreed to that very file.

Consent is kept outside the project, by the file's SHA-256: an edited or a downloaded file needs
consent again. Installed packages need none; they register through entry points.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path

from llmwright.core import files
from llmwright.core.errors import ConfigError, InputError, LLMwrightError
from llmwright.core.project import Project
from llmwright.core.registry import registering


@dataclass(frozen=True)
class PluginFile:
    """One file of a project's ``plugins`` folder."""

    path: Path
    sha256: str
    trusted: bool


def user_folder() -> Path:
    """Return where consent is kept: ``LLMWRIGHT_HOME``, else ``~/.config/llmwright``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    default = Path(base) / "llmwright" if base else Path.home() / ".config" / "llmwright"
    return Path(os.environ.get("LLMWRIGHT_HOME") or default)


def _consent() -> dict[str, dict[str, str]]:
    file = user_folder() / "trusted.json"
    try:
        found: dict[str, dict[str, str]] = files.read_json(file) if file.is_file() else {}
    except (ValueError, OSError) as error:
        raise ConfigError("CORE-073", path=file, reason=str(error)) from error
    return found


def project_plugins(project: Project) -> list[PluginFile]:
    """Return the project's plugin files, trusted or not, by name."""
    paths = sorted((project.root / "plugins").glob("*.py"))
    if not paths:
        return []
    consent = _consent()
    hashed = [(path, files.sha256_file(path)) for path in paths]
    return [PluginFile(path, digest, digest in consent) for path, digest in hashed]


def project_hashes(project: Project) -> dict[str, str]:
    """Return name → SHA-256 of the project's plugin files, which enter every fingerprint."""
    return {plugin.path.name: plugin.sha256 for plugin in project_plugins(project)}


def trust(path: Path) -> PluginFile:
    """Record the user's consent to run this very file.

    Raises:
        ConfigError: No such file (``CORE-070``).
    """
    if not path.is_file():
        raise ConfigError("CORE-070", path=path)
    digest = files.sha256_file(path)
    consent = _consent()
    consent[digest] = {"path": str(path.resolve()), "when": time.strftime("%Y-%m-%dT%H:%M:%S")}
    folder = user_folder()
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "trusted.json", consent)
    return PluginFile(path, digest, True)


def load_project_plugins(project: Project) -> list[PluginFile]:
    """Import the project's plugin files, which register what they bring.

    Raises:
        ConfigError: A file has no consent (``CORE-071``), or registers a taken name (``CORE-010``).
        InputError: A file cannot be imported (``CORE-072``).
    """
    found = project_plugins(project)
    for plugin in found:
        if not plugin.trusted and _module_of(plugin) not in sys.modules:
            raise ConfigError("CORE-071", path=plugin.path)
    for plugin in found:
        load_plugin(plugin)
    return found


def _module_of(plugin: PluginFile) -> str:
    return f"llmwright_project_{plugin.sha256[:12]}"


def load_plugin(plugin: PluginFile) -> None:
    """Import one file, which registers what it brings; once in a process.

    Raises:
        ConfigError: The file has no consent (``CORE-071``), or registers a taken name
            (``CORE-010``).
        InputError: The file cannot be imported (``CORE-072``).
    """
    name = _module_of(plugin)
    if name in sys.modules:
        return
    # The very bytes that were agreed to are compiled: importing by path would read the file again,
    # or run a .pyc beside it that nobody has seen.
    source = plugin.path.read_bytes()
    if not plugin.trusted or hashlib.sha256(source).hexdigest() != plugin.sha256:
        raise ConfigError("CORE-071", path=plugin.path)
    module = types.ModuleType(name)
    module.__file__ = str(plugin.path)
    sys.modules[name] = module
    try:
        with registering(f"plugins/{plugin.path.name}"):
            exec(compile(source, str(plugin.path), "exec"), module.__dict__)
    except LLMwrightError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        reason = f"{type(error).__name__}: {error}"
        raise InputError("CORE-072", path=plugin.path, reason=reason) from error
