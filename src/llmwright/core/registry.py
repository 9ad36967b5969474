"""One kind of registry for everything that can be added: name → lazily imported object.

Built-ins, installed packages (entry-point group ``llmwright.<kind>``) and a project's own
``plugins/*.py`` come through the same three calls: `names`, `get`, `register`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from typing import Any, Generic, TypeVar

from llmwright.core.errors import ConfigError, InputError, closest

T = TypeVar("T")

PROJECT = "project"
BUILT_IN = "built-in"

_REGISTRIES: dict[str, Registry[Any]] = {}
# What a plugin registered before the package that owns the registry was imported:
# kind → name → (thing, origin).
_WAITING: dict[str, dict[str, tuple[Any, str]]] = {}
# Whose code is running now, so that two plugins cannot take one name without being told.
_ORIGIN: ContextVar[str] = ContextVar("origin", default=PROJECT)


def load_object(target: str) -> Any:
    """Import ``"module:name"`` and return the object.

    Raises:
        ImportError, AttributeError: The target does not exist.
    """
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def registering(origin: str) -> Iterator[None]:
    """Note within this block that what is registered comes from ``origin`` (a plugin file)."""
    token = _ORIGIN.set(origin)
    try:
        yield
    finally:
        _ORIGIN.reset(token)


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
        self._loaded: dict[str, Any] = {}
        self._origins = dict.fromkeys(entries, BUILT_IN)
        for name, (target, origin) in _WAITING.get(kind, {}).items():
            self._add(name, target, origin)
        _WAITING.pop(kind, None)
        _REGISTRIES[kind] = self

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        return sorted({*self._entries, *_entry_points(self.kind)})

    def origin(self, name: str) -> str:
        """Return where a name comes from: ``built-in``, ``project``, a plugin file or a package."""
        if name in self._origins:
            return self._origins[name]
        distribution = _entry_points(self.kind)[name].dist
        return distribution.name if distribution else "installed"

    def register(self, name: str, target: T | str) -> None:
        """Add a thing under a name; its own origin may replace it, as when a file is edited.

        Raises:
            ConfigError: The name is taken by something else (``CORE-010``).
        """
        self._add(name, target, _ORIGIN.get())

    def _add(self, name: str, target: Any, origin: str) -> None:
        if name in self and self.origin(name) != origin:
            raise ConfigError("CORE-010", kind=self.kind, name=name, origin=self.origin(name))
        self._entries[name] = target
        self._origins[name] = origin
        self._loaded.pop(name, None)

    def get(self, name: str) -> T:
        """Return the thing with this name.

        Raises:
            ConfigError: Nothing has this name (``CORE-011``, with the closest), or an installed
                package and something else both do (``CORE-010``).
            InputError: A plugin's object cannot be imported (``CORE-012``).
        """
        point = _entry_points(self.kind).get(name)
        if point is not None and name in self._entries:
            raise ConfigError("CORE-010", kind=self.kind, name=name, origin=self.origin(name))
        target: Any = self._entries.get(name, point)
        if target is None:
            raise ConfigError(
                "CORE-011", kind=self.kind, name=name, hint=closest(name, self.names())
            )
        if isinstance(target, metadata.EntryPoint):
            brought: T = self._load(name, target.load)
            return brought
        if isinstance(target, str) and name not in self._loaded:
            self._loaded[name] = self._load(name, lambda: load_object(target))
        found: T = self._loaded.get(name, target)
        return found

    def _load(self, name: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except Exception as error:  # a plugin's module may raise anything
            if self.origin(name) == BUILT_IN:
                raise
            reason = f"{type(error).__name__}: {error}"
            raise InputError("CORE-012", kind=self.kind, name=name, reason=reason) from error

    def __contains__(self, name: str) -> bool:
        """Say whether a name is registered."""
        return name in self._entries or name in _entry_points(self.kind)


def register(kind: str, name: str, target: Any) -> None:
    """Add a plugin's thing to the registry of this kind, which may not have been imported yet.

    Args:
        kind: Kind of thing, as in ``metric``, ``cleaner`` or ``architecture``.
        name: The name that settings use.
        target: The thing itself, or ``"module:name"`` to import it when it is needed.

    Raises:
        ConfigError: The name is taken by something else (``CORE-010``).
    """
    registry = _REGISTRIES.get(kind)
    if registry is not None:
        registry.register(name, target)
        return
    waiting = _WAITING.setdefault(kind, {})
    origin = _ORIGIN.get()
    if waiting.get(name, (None, origin))[1] != origin:
        raise ConfigError("CORE-010", kind=kind, name=name, origin=waiting[name][1])
    waiting[name] = (target, origin)


def registries() -> dict[str, Registry[Any]]:
    """Return the registries of the packages imported so far, by kind."""
    return dict(sorted(_REGISTRIES.items()))


@cache
def installed_plugins() -> dict[str, str]:
    """Return name → version of the installed packages that bring plugins."""
    if os.environ.get("LLMWRIGHT_PLUGINS", "").lower() == "off":
        return {}
    found = {}
    for distribution in metadata.distributions():
        if any(point.group.startswith("llmwright.") for point in distribution.entry_points):
            found[distribution.name] = distribution.version
    return dict(sorted(found.items()))
