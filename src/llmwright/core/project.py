"""A project: a folder with ``llmwright.yaml`` and, beside it, the store ``.llmwright/``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from llmwright.core import layers
from llmwright.core.artifacts import Store
from llmwright.core.config import form_at
from llmwright.core.errors import ConfigError, closest
from llmwright.core.index import Index
from llmwright.core.locale import text
from llmwright.core.operation import Table, field_at

FILE_NAME = "llmwright.yaml"
STORE_NAME = ".llmwright"
# Operations of the design that have no row in the table yet; their sections are refused by name.
PLANNED = ("annotate", "compare", "explain", "deploy", "monitor")
HEAD = ("name", "task", "recipe")
# A step's name is part of a folder's name and stands in references.
STEP_NAME = re.compile(r"\w[\w.-]{0,63}")


@dataclass(frozen=True)
class Section:
    """One operation's settings in the project file.

    Attributes:
        verb: The operation.
        step: Name of the step: its own ``name``, else the verb, numbered in a list of several.
        values: Merged settings.
        where: Dotted place in the file, as in ``train`` or ``export.1``.
        base: The section that its own settings lie on; it is no step of its own.
    """

    verb: str
    step: str
    values: dict[str, Any]
    where: str
    base: Section | None = None

    def located(self, keys: Mapping[str, str]) -> dict[str, str]:
        """Return what is known of each dotted key, under the names that this section has for them.

        What it takes from its base is found below its own place too.

        Args:
            keys: Dotted key → where it was written, or the layer it came from.
        """
        found = dict(keys)
        if self.base is not None:
            inside, here = f"{self.base.where}.", f"{self.where}.{self.base.verb}."
            taken = {k.replace(inside, here, 1): v for k, v in keys.items() if k.startswith(inside)}
            found = taken | found
        return found


@dataclass
class Project:
    """A project folder and its merged settings.

    Attributes:
        root: The folder; relative paths in the settings start here.
        file: The project file; None for a folder without one.
        values: Merged settings of all layers.
        origins: Dotted key → the layer it came from; steps of a list go by their number.
        lines: Dotted key → ``llmwright.yaml:LINE``.
    """

    root: Path
    file: Path | None = None
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)

    @cached_property
    def home(self) -> Path:
        """The ``.llmwright`` folder."""
        return self.root / STORE_NAME

    @cached_property
    def store(self) -> Store:
        """The project's artifacts."""
        return Store(self.home)

    @cached_property
    def index(self) -> Index:
        """The project's runs and jobs."""
        return Index(self.home)

    @property
    def name(self) -> str:
        """The project's name; the folder's when the file gives none."""
        return str(self.values.get("name") or self.root.name)

    @classmethod
    def around(cls, start: Path | None = None) -> Project:
        """Return a folder's project without any settings, whatever is wrong with its file.

        Args:
            start: As in `find`.
        """
        folder = (start or Path.cwd()).resolve()
        for candidate in (folder, *(() if start else folder.parents)):
            if (candidate / FILE_NAME).is_file():
                return cls(candidate, candidate / FILE_NAME)
        return cls(folder)

    @classmethod
    def find(
        cls, table: Table, start: Path | None = None, overrides: dict[str, Any] | None = None
    ) -> Project:
        """Return the project of a folder, with a file or without one.

        Args:
            table: Operations that may have sections.
            start: The folder; when not given, the nearest one with a project file, from the current
                one upwards, else the current one.
            overrides: As in `load`.
        """
        project = cls.around(start)
        if project.file:
            return cls.load(project.file, table, overrides)
        project._lay_settings_over(table, overrides)
        return project

    @classmethod
    def load(
        cls,
        file: Path,
        table: Table,
        overrides: dict[str, Any] | None = None,
    ) -> Project:
        """Return the project of a file, with recipe, environment and overrides merged in.

        Args:
            file: The project file.
            table: Operations that may have sections.
            overrides: Nested values from the command line or a call; they win.

        Raises:
            ConfigError: No such file (``CORE-050``), not YAML (``CORE-051``), an unknown section
                (``CORE-052``) or one whose operation does not exist yet (``CORE-053``), or an
                override of a list that does not say of which entry (``CORE-045``).
        """
        if not file.is_file():
            raise ConfigError("CORE-050", path=file)
        values, lines = read_yaml(file)
        project = cls(file.resolve().parent, file.resolve(), lines=lines)
        project._refuse_unknown(values, table)
        recipe = values.get("recipe")
        if recipe:
            project._lay_over(recipe_values(str(recipe)), f"recipe {recipe}", table)
        project._lay_over(values, file.name, table)
        project._lay_settings_over(table, overrides)
        return project

    def _lay_settings_over(self, table: Table, overrides: dict[str, Any] | None) -> None:
        environment = layers.from_environment(os.environ, table, forms_in(table))
        for values, origin in ((environment, "environment"), (overrides, "command line")):
            self._refuse_unknown(values or {}, table)
            for key, value in (values or {}).items():
                old = self.values.get(key)
                known = isinstance(old, list) and isinstance(value, dict)
                if known and not layers.entries_of(old or [], value):
                    raise ConfigError("CORE-045", where=origin, key=key, count=len(old or []))
            self._lay_over(values or {}, origin, table)
            self.lines = layers.located(self.lines, values or {}, origin)

    def _refuse_unknown(self, values: dict[str, Any], verbs: Table) -> None:
        for key in map(str, values):
            where = self.lines.get(key)
            if key in PLANNED and key not in verbs:
                raise ConfigError("CORE-053", where=where, section=key)
            if key not in verbs and key not in HEAD:
                hint = closest(key, [*verbs, *HEAD])
                raise ConfigError("CORE-052", where=where, section=key, hint=hint)

    def _lay_over(self, values: dict[str, Any], origin: str, table: Table) -> None:
        self.values = layers.merge(self.values, values, forms_in(table))
        given = set(_keys(values, self.values))
        earlier, self.origins = self.origins, {}
        for key in _keys(self.values, self.values):
            # A choice's short form (``optimizer: adamw``) may have become a mapping with a kind.
            old = earlier.get(key) or earlier.get(key.removesuffix(".kind"))
            if key in given or old:
                self.origins[key] = origin if key in given else str(old)

    def sections(self, table: Table) -> list[Section]:
        """Return the sections of the file in the order of the operations.

        Raises:
            ConfigError: A section is not a mapping or a list of them (``CORE-054``), two steps
                share a name (``CORE-055``), a name cannot be one (``CORE-046``), or a section's
                base is not clear (``CORE-047``).
        """
        found: list[Section] = []
        for verb in table:
            value = self.values.get(verb)
            if verb not in self.values or value is False:
                continue
            if not isinstance(value, list):
                found.append(self._section(verb, value, verb, verb))
                continue
            for number, entry in enumerate(value):
                default = verb if len(value) == 1 else f"{verb}-{number + 1}"
                found.append(self._section(verb, entry, f"{verb}.{number}", default))
        names = [section.step for section in found]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError("CORE-055", name=name)
        return [self.on_base(section, found, table) for section in found]

    def on_base(self, section: Section, others: Sequence[Section], table: Table) -> Section:
        """Return a section with its settings laid over the section that is its base.

        Args:
            section: One whose operation may have a base.
            others: The sections of the file.
            table: The operations.

        Raises:
            ConfigError: Several sections could be it and none is named, or none has that name
                (``CORE-047``).
        """
        verb = table[section.verb].base
        if not verb:
            return section
        values = dict(section.values)
        name = values.pop("base", None)
        found = {other.step: other for other in others if other.verb == verb}
        if (name is None and len(found) > 1) or (name is not None and name not in found):
            where = self.lines.get(section.where, section.where)
            steps = ", ".join(found) or "-"
            raise ConfigError("CORE-047", where=where, section=section.step, verb=verb, steps=steps)
        if not found:
            return replace(section, values=values)
        base = found[name] if name else next(iter(found.values()))
        place = (section.verb,)
        values = layers.merge({verb: base.values}, values, forms_in(table), place)
        return replace(section, values=values, base=base)

    def _section(self, verb: str, entry: Any, where: str, default: str) -> Section:
        if entry is not None and not isinstance(entry, dict):
            raise ConfigError("CORE-054", where=self.lines.get(where, where), section=verb)
        values = dict(entry or {})
        step = str(values.pop("name", default))
        if not STEP_NAME.fullmatch(step):
            where = self.lines.get(f"{where}.name", where)
            raise ConfigError("CORE-046", where=where, name=step)
        if verb == "prepare" and "task" in self.values:
            values.setdefault("task", self.values["task"])
        return Section(verb, step, values, where)


def _keys(given: dict[str, Any], merged: dict[str, Any]) -> Iterator[str]:
    """Yield the dotted keys of all leaves that are given; what is empty has none.

    Args:
        given: Settings of one layer; steps of a list may be addressed by number or name.
        merged: Settings with this layer in them.
    """
    for verb, value in given.items():
        whole = merged.get(verb)
        entries = {str(verb): value}
        if isinstance(value, list):
            entries = {f"{verb}.{number}": entry for number, entry in enumerate(value)}
        elif isinstance(value, dict) and isinstance(whole, list):
            numbers = layers.entries_of(whole, value)
            entries = {f"{verb}.{numbers[str(key)]}": entry for key, entry in value.items()}
        yield from (key for key, leaf in layers.flat(entries).items() if leaf != {})


def forms_in(table: Table) -> layers.FormAt:
    """Return what says which form of value a dotted key of the project file takes."""

    def says(parts: Sequence[str]) -> layers.Form:
        found = field_at(table, parts)
        return form_at(*found) if found else "other"

    return says


def recipe_values(name: str) -> dict[str, Any]:
    """Return the settings of a recipe shipped in the package; paths lead to its own files.

    Raises:
        ConfigError: No recipe has this name (``CORE-056``).
    """
    folder = Path(str(resources.files("llmwright"))) / "recipes"
    names = [entry.name for entry in folder.iterdir() if (entry / FILE_NAME).is_file()]
    if name not in names:
        raise ConfigError("CORE-056", name=name, hint=closest(name, names))
    values: dict[str, Any] = _whole_paths(read_yaml(folder / name / FILE_NAME)[0], folder / name)
    return values


def _whole_paths(value: Any, folder: Path) -> Any:
    """Return settings in which what names a file of the folder does so from everywhere."""
    if isinstance(value, dict):
        return {key: _whole_paths(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_paths(item, folder) for item in value]
    is_path = isinstance(value, str) and (folder / value).is_file()
    return str(folder / value) if is_path else value


def read_yaml(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a YAML file's mapping and, for each dotted key, ``file:line``.

    Raises:
        ConfigError: Not readable, not YAML, not UTF-8 or not a mapping (``CORE-051``), or a key
            stands twice (``CORE-057``).
    """
    try:
        written = file.read_text(encoding="utf-8-sig")
        tree = yaml.compose(written, Loader=layers.Loader)
        values = yaml.load(written, Loader=layers.Loader)
        lines: dict[str, str] = {}
        _collect_lines(tree, "", file.name, lines)
    except RecursionError as error:
        reason = text("core.too_deep")
        raise ConfigError("CORE-051", where=file.name, path=file, reason=reason) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file.name}:{mark.line + 1}" if mark else file.name
        reason = getattr(error, "problem", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError("CORE-051", where=where, path=file, reason=reason) from error
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        reason = text("core.no_mapping")
        raise ConfigError("CORE-051", where=file.name, path=file, reason=reason)
    return values, lines


def _collect_lines(node: Any, prefix: str, name: str, lines: dict[str, str]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _collect_lines(item, f"{prefix}{number}.", name, lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        dotted = prefix + str(key.value)
        where = f"{name}:{key.start_mark.line + 1}"
        if dotted in lines:
            raise ConfigError("CORE-057", where=where, key=dotted)
        lines[dotted] = where
        _collect_lines(value, dotted + ".", name, lines)
