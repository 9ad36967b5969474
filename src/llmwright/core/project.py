"""A project: a folder with ``llmwright.yaml`` and, beside it, the store ``.llmwright/``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from llmwright.core import layers
from llmwright.core.artifacts import Store
from llmwright.core.errors import ConfigError, closest
from llmwright.core.index import Index

FILE_NAME = "llmwright.yaml"
STORE_NAME = ".llmwright"
# Operations of the design that have no row in the table yet; their sections are refused by name.
PLANNED = ("annotate", "tune", "compare", "explain", "compress", "deploy", "monitor")
HEAD = ("name", "task", "recipe")


@dataclass(frozen=True)
class Section:
    """One operation's settings in the project file.

    Attributes:
        verb: The operation.
        step: Name of the step: the entry's ``name`` in a list, else the verb.
        values: Merged settings.
        where: Dotted place in the file, as in ``train`` or ``export.1``.
    """

    verb: str
    step: str
    values: dict[str, Any]
    where: str


@dataclass
class Project:
    """A project folder and its merged settings.

    Attributes:
        root: The folder; relative paths in the settings start here.
        file: The project file; None for a folder without one.
        values: Merged settings of all layers.
        origins: Dotted key → the layer it came from.
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
    def find(cls, verbs: Iterable[str], start: Path | None = None, **settings: Any) -> Project:
        """Return the project around a folder, or a project without a file in that very folder.

        Args:
            verbs: Operations that may have sections.
            start: Folder to begin at; the current one by default.
            **settings: ``environment`` and ``overrides``, as in `load`.
        """
        folder = (start or Path.cwd()).resolve()
        for candidate in (folder, *folder.parents):
            if (candidate / FILE_NAME).is_file():
                return cls.load(candidate / FILE_NAME, verbs, **settings)
        project = cls(folder)
        project._lay_over(settings.get("environment") or {}, "environment")
        project._lay_over(settings.get("overrides") or {}, "command line")
        return project

    @classmethod
    def load(
        cls,
        file: Path,
        verbs: Iterable[str],
        environment: dict[str, Any] | None = None,
        overrides: dict[str, Any] | None = None,
    ) -> Project:
        """Return the project of a file, with recipe, environment and overrides merged in.

        Raises:
            ConfigError: No such file (``CORE-050``), not YAML (``CORE-051``), an unknown section
                (``CORE-052``) or one whose operation does not exist yet (``CORE-053``).
        """
        if not file.is_file():
            raise ConfigError("CORE-050", path=file)
        values, lines = read_yaml(file)
        project = cls(file.resolve().parent, file.resolve(), lines=lines)
        project._refuse_unknown(values, set(verbs))
        recipe = values.get("recipe")
        if recipe:
            project._lay_over(recipe_values(str(recipe)), f"recipe {recipe}")
        project._lay_over(values, file.name)
        project._lay_over(environment or {}, "environment")
        project._lay_over(overrides or {}, "command line")
        return project

    def _refuse_unknown(self, values: dict[str, Any], verbs: set[str]) -> None:
        for key in values:
            where = self.lines.get(key)
            if key in PLANNED and key not in verbs:
                raise ConfigError("CORE-053", where=where, section=key)
            if key not in verbs and key not in HEAD:
                hint = closest(key, [*verbs, *HEAD])
                raise ConfigError("CORE-052", where=where, section=key, hint=hint)

    def _lay_over(self, values: dict[str, Any], origin: str) -> None:
        self.values = layers.merge(self.values, values)
        self.origins.update(dict.fromkeys(layers.flat(values), origin))

    def sections(self, order: Iterable[str]) -> list[Section]:
        """Return the sections of the file in the order of the operations.

        Raises:
            ConfigError: A section is not a mapping or a list of them (``CORE-054``), or two steps
                share a name (``CORE-055``).
        """
        found: list[Section] = []
        for verb in order:
            value = self.values.get(verb)
            if verb not in self.values or value is False:
                continue
            entries = value if isinstance(value, list) else [value]
            for number, entry in enumerate(entries):
                where = f"{verb}.{number}" if isinstance(value, list) else verb
                found.append(self._section(verb, entry, where))
        names = [section.step for section in found]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError("CORE-055", name=name)
        return found

    def _section(self, verb: str, entry: Any, where: str) -> Section:
        if entry is not None and not isinstance(entry, dict):
            raise ConfigError("CORE-054", where=self.lines.get(where, where), section=verb)
        values = dict(entry or {})
        step = str(values.pop("name", verb))
        if verb == "prepare" and "task" in self.values:
            values.setdefault("task", self.values["task"])
        return Section(verb, step, values, where)


def recipe_values(name: str) -> dict[str, Any]:
    """Return the settings of a recipe shipped in the package.

    Raises:
        ConfigError: No recipe has this name (``CORE-056``).
    """
    folder = resources.files("llmwright") / "recipes"
    file = folder / name / FILE_NAME
    if not file.is_file():
        names = [entry.name for entry in folder.iterdir() if (entry / FILE_NAME).is_file()]
        raise ConfigError("CORE-056", name=name, hint=closest(name, names))
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return values


def read_yaml(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a YAML file's mapping and, for each dotted key, ``file:line``.

    Raises:
        ConfigError: Not YAML, not UTF-8 or not a mapping (``CORE-051``), or a key stands twice
            (``CORE-057``).
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file.name}:{mark.line + 1}" if mark else file.name
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError("CORE-051", where=where, path=file, reason=reason) from error
    if not isinstance(values, dict):
        raise ConfigError("CORE-051", where=file.name, path=file, reason="not a mapping")
    lines: dict[str, str] = {}
    _collect_lines(tree, "", file.name, lines)
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
