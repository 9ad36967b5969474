"""Merging layers of settings: defaults < recipe < project file < environment < overrides.

Each layer is plain nested mappings; what comes later wins. The origin of each value is kept, so
``llmwright config show --origins`` can say where it came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml

from llmwright.core.errors import ConfigError, closest

Values = dict[str, Any]
PREFIX = "LLMWRIGHT_"
# Says what a dotted place takes: text, taken as it is written; settings whose short form stands for
# one of them, as ``short kind`` of a `Choice`; or any other value.
Form = str
SHORT = "short "
# What may be a short form; a folder of digits is a number to YAML.
BARE = (str, int, float)
FormAt = Callable[[Sequence[str]], Form]


class Loader(yaml.SafeLoader):
    """YAML without tags that run code, in which ``3e-4`` is a number, as people expect."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def merge(base: Values, top: Values, form_at: FormAt, place: Sequence[str] = ()) -> Values:
    """Return ``base`` with ``top`` laid over it.

    Mappings merge key by key; a mapping with another ``kind`` replaces the old one whole, since
    the fields of one kind mean nothing to another. The short form of a choice
    (``optimizer: adamw``) is the same as ``{kind: adamw}``, on both sides, and so are those of
    other settings. A mapping whose keys are numbers or step names changes those entries of a list
    (``export.1.format``).

    Args:
        base: What lies below.
        top: What wins.
        form_at: Says which places have a short form.
        place: Where ``base`` stands itself.
    """
    merged = dict(base)
    for key, value in top.items():
        merged[key] = _laid_over(merged.get(key), value, form_at, (*place, str(key)))
    return merged


def _laid_over(old: Any, value: Any, form_at: FormAt, place: Sequence[str]) -> Any:
    """Return one value laid over another."""
    if isinstance(old, list) and isinstance(value, dict) and (found := entries_of(old, value)):
        entries = list(old)
        for key, entry in value.items():
            index = found[str(key)]
            entries[index] = _laid_over(entries[index], entry, form_at, (*place, str(key)))
        return entries
    field = _short_field(old, value, form_at, place)
    if field and not isinstance(old, dict) and field not in value:
        old = {field: old}
    if field and not isinstance(value, dict) and (field != "kind" or old.get("kind") == value):
        value = {field: value}
    if isinstance(old, dict) and isinstance(value, dict) and _same_kind(old, value):
        return merge(old, value, form_at, place)
    return value


def _short_field(old: Any, value: Any, form_at: FormAt, place: Sequence[str]) -> str:
    """Return the field that the bare one of two values stands for; empty where none does."""
    bare, other = (value, old) if isinstance(old, dict) else (old, value)
    if not isinstance(other, dict) or type(bare) not in BARE:
        return ""
    form = form_at(place)
    return form.removeprefix(SHORT) if form.startswith(SHORT) else ""


def entries_of(entries: list[Any], addressed: Values) -> dict[str, int]:
    """Return key → index when every key is a number or the ``name`` of an entry; else nothing."""
    names = {str(i): i for i in range(len(entries))}
    names |= {
        str(e["name"]): i for i, e in enumerate(entries) if isinstance(e, dict) and "name" in e
    }
    found = {str(key): names[str(key)] for key in addressed if str(key) in names}
    return found if len(found) == len(addressed) else {}


def _same_kind(old: Values, new: Values) -> bool:
    """Say whether two mappings may be of one kind; one that names none may be of any."""
    return bool(new.get("kind", old.get("kind")) == old.get("kind", new.get("kind")))


def nested(key: str, value: Any) -> Values:
    """Return ``{"a": {"b": value}}`` for the dotted key ``a.b``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    result: Values = value
    return result


def flat(values: Mapping[str, Any], prefix: str = "") -> Values:
    """Return dotted keys of all leaves; lists are leaves."""
    found: Values = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[prefix + str(key)] = value
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any], most: int = 8) -> str:
    """Return each setting that is not what it was, as in ``lr: 0.01 → 0.02``; empty when none.

    Args:
        before: Nested settings.
        now: Others.
        most: How many are named.
    """
    old, new = flat(before), flat(now)
    keys = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    shown = [f"{key}: {old.get(key)} → {new.get(key)}" for key in keys[:most]]
    return ", ".join(shown) + (" …" if len(keys) > most else "")


def located(
    lines: Mapping[str, str], given: Values, origin: str, where: str = ""
) -> dict[str, str]:
    """Return where each key was written, for errors, once values of another origin win.

    An error about such a value, or what it is a part of, must not point at a line of the file.

    Args:
        lines: Dotted key → where it was written.
        given: The values that win.
        origin: Where those were written.
        where: Dotted place of the section they are for; empty when they are whole sections.
    """
    leaves = flat(given, f"{where}." if where else "")
    covered = tuple(f"{leaf}." for leaf in leaves)
    found = {key: line for key, line in lines.items() if not key.startswith(covered)}
    num_section = len(where.split("."))
    for leaf in leaves:
        parts = leaf.split(".")
        inside = range(num_section + 1, len(parts))
        found |= dict.fromkeys((leaf, *(".".join(parts[:end]) for end in inside)), origin)
    return found


def parse_overrides(words: Iterable[str], form_at: FormAt) -> Values:
    """Return the nested values of ``key.sub=value`` words; what is not text is read as YAML.

    Raises:
        ConfigError: A word has no ``=`` (``CORE-043``) or its value is not YAML (``CORE-044``).
    """
    values: Values = {}
    for word in words:
        key, sign, raw = word.partition("=")
        if not sign or not key:
            raise ConfigError("CORE-043", word=word)
        key = key.strip()
        value = raw if form_at(key.split(".")) == "text" else parse_value(raw, key)
        values = merge(values, nested(key, value), form_at)
    return values


def parse_value(raw: str, key: str) -> Any:
    """Return one YAML value.

    Raises:
        ConfigError: It is not YAML (``CORE-044``).
    """
    try:
        return yaml.load(raw, Loader=Loader) if raw else ""
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError("CORE-044", key=key, value=raw, reason=reason) from error


def from_environment(
    environment: Mapping[str, str], sections: Iterable[str], form_at: FormAt
) -> Values:
    """Return values of variables such as ``LLMWRIGHT_TRAIN__LR=3e-4`` (``__`` for each dot).

    Raises:
        ConfigError: A variable names no section (``CORE-052``) or is not YAML (``CORE-044``).
    """
    values: Values = {}
    known = {section.lower() for section in sections}
    for name, raw in sorted(environment.items()):
        parts = name.removeprefix(PREFIX).lower().split("__")
        if not name.startswith(PREFIX) or len(parts) < 2:
            continue
        if parts[0] not in known:
            hint = closest(parts[0], known)
            raise ConfigError("CORE-052", where=name, section=parts[0], hint=hint)
        value = raw if form_at(parts) == "text" else parse_value(raw, name)
        values = merge(values, nested(".".join(parts), value), form_at)
    return values
