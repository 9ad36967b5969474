"""The recipes that come with the package: runnable projects with their own small data."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmwright.core import files
from llmwright.core.errors import ConfigError, closest
from llmwright.core.locale import language
from llmwright.core.project import FILE_NAME

ABOUT = "recipe.yaml"
DEFAULT = "weather"


@dataclass(frozen=True)
class Recipe:
    """One shipped project.

    Attributes:
        name: Folder name.
        folder: Where it lies in the installed package.
        summary: What it does, in one sentence of the user's language.
        request: Body that the demo sends to ``/generate``.
        more: Further bodies worth trying.
    """

    name: str
    folder: Path
    summary: str
    request: dict[str, Any]
    more: list[dict[str, Any]]


def recipes() -> dict[str, Recipe]:
    """Return the shipped recipes by name."""
    home = Path(__file__).parent
    found = (_open(file.parent) for file in sorted(home.glob(f"*/{ABOUT}")))
    return {recipe.name: recipe for recipe in found}


def _open(folder: Path) -> Recipe:
    about = yaml.safe_load((folder / ABOUT).read_text(encoding="utf-8"))
    summary = about["summary"][language()]
    return Recipe(folder.name, folder, summary, about["request"], about.get("more", []))


def find(name: str) -> Recipe:
    """Return a recipe.

    Raises:
        ConfigError: No recipe has this name (``CORE-056``).
    """
    known = recipes()
    if name not in known:
        raise ConfigError("CORE-056", name=name, hint=closest(name, known))
    return known[name]


def copy(recipe: Recipe, target: Path) -> Path:
    """Copy a recipe's project into a folder and return its project file, which comes last.

    What an interrupted copy left is completed; no other file is replaced.

    Raises:
        ConfigError: The folder has a project already (``RECIPE-001``), or files of its own that the
            recipe brings too (``RECIPE-004``).
    """
    if (target / FILE_NAME).exists():
        raise ConfigError("RECIPE-001", path=target)
    names = _files_of(recipe)
    taken = [n for n in names if os.path.lexists(target / n) and not _is_copy(recipe, target, n)]
    if taken:
        raise ConfigError("RECIPE-004", path=target, files=", ".join(taken))
    with files.disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".llmwright-", dir=target) as place:
            for name in names:
                whole = Path(place) / "whole"
                shutil.copyfile(recipe.folder / name, whole)
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                whole.replace(target / name)
    return target / FILE_NAME


def is_project_of(recipe: Recipe, target: Path) -> bool:
    """Say whether a folder holds the project of this recipe, as it was copied."""
    return _is_copy(recipe, target, FILE_NAME)


def _files_of(recipe: Recipe) -> list[str]:
    """Return the files that a project gets, the project file last."""
    found = (p for p in recipe.folder.rglob("*") if p.is_file() and p.name != ABOUT)
    names = (p.relative_to(recipe.folder).as_posix() for p in found if "__pycache__" not in p.parts)
    return sorted(names, key=lambda name: (name == FILE_NAME, name))


def _is_copy(recipe: Recipe, target: Path, name: str) -> bool:
    path = target / name
    return path.is_file() and path.read_bytes() == (recipe.folder / name).read_bytes()
