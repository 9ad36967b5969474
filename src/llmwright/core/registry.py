"""One kind of registry for everything that can be added: name → lazily imported object.

Built-ins, installed packages (entry-point group ``llmwright.<kind>``) and a project's own
``plugins/*.py`` come through the same three calls: `names`, `get`, `register`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any, Generic, TypeVar

from llmwright.core.errors import ConfigError, InputError, closest

T = TypeVar("T")

_REGISTRIES: dict[str, Registry[Any]] = {}
# What a plugin registered before the package that owns the registry was imported.
_WAITING: dict[str, dict[str, Any]] = {}


def load_object(target: str) -> Any:
    """Import ``"module:name"`` and return the object.

    Raises:
        ImportError, AttributeError: The target does not exist.
    """
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@cache
def _entry_points(kind: str) -> dict[str, metadata.EntryPoint]:
    """Return installed plugins of one kind; ``LLMWRIGHT_PLUGINS=off`` turns them all off."""
    if os.environ.get("LLMWRIGHT_PLUGINS", "").lower() == "off":
        return {}
    return {point.name: point for point in metadata.entry_points(group=f"llmwright.{kind}")}


class Registry(Generic[T]):
    """Names of one kind of thing, each imported only when it is asked for.

    Args:
        kind: Singular noun, as in ``metric``; also the entry-point group ``llmwright.metric``.
        entries: Built-in names with their ``"module:name"`` targets.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries: dict[str, Any] = dict(entries)
        self._entries.update(_WAITING.pop(kind, {}))
        self._origins = dict.fromkeys(entries, "built-in")
        _REGISTRIES[kind] = self

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        return sorted({*self._entries, *_entry_points(self.kind)})

    def origin(self, name: str) -> str:
        """Return where a name comes from: ``built-in``, ``project`` or the installed package."""
        if name in self._entries:
            return self._origins.get(name, "project")
        distribution = _entry_points(self.kind)[name].dist
        return distribution.name if distribution else "installed"

    def register(self, name: str, target: T | str) -> None:
        """Add a thing under a name.

        Raises:
            ConfigError: The name is taken by something else (``CORE-010``).
        """
        taken = self._entries.get(name)
        if taken is not None and self._origins.get(name) == "built-in":
            raise ConfigError("CORE-010", kind=self.kind, name=name)
        self._entries[name] = target

    def get(self, name: str) -> T:
        """Return the thing with this name.

        Raises:
            ConfigError: Nothing has this name (``CORE-011``); the message lists the closest.
            InputError: A plugin's object cannot be imported (``CORE-012``).
        """
        target: Any = self._entries.get(name)
        if target is None:
            target = _entry_points(self.kind).get(name)
        if target is None:
            raise ConfigError(
                "CORE-011", kind=self.kind, name=name, hint=closest(name, self.names())
            )
        try:
            if isinstance(target, metadata.EntryPoint):
                target = target.load()
            elif isinstance(target, str):
                target = load_object(target)
        except (ImportError, AttributeError) as error:
            if self.origin(name) == "built-in":
                raise
            raise InputError("CORE-012", kind=self.kind, name=name, reason=str(error)) from error
        self._entries[name] = target
        found: T = target
        return found

    def __contains__(self, name: str) -> bool:
        """Say whether a name is registered."""
        return name in self._entries or name in _entry_points(self.kind)


def register(kind: str, name: str, target: Any) -> None:
    """Add a plugin's thing to the registry of this kind, which may not have been imported yet."""
    registry = _REGISTRIES.get(kind)
    if registry is not None:
        registry.register(name, target)
    else:
        _WAITING.setdefault(kind, {})[name] = target


def registries() -> dict[str, Registry[Any]]:
    """Return the registries of the packages imported so far, by kind."""
    return dict(sorted(_REGISTRIES.items()))
