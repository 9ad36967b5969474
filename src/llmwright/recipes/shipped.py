"""The recipes that come with the package: runnable projects with their own small data."""

from __future__ import annotations

import shutil
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
    """Copy a recipe's project into a folder and return its project file.

    Raises:
        ConfigError: The folder has a project already (``RECIPE-001``).
    """
    if (target / FILE_NAME).exists():
        raise ConfigError("RECIPE-001", path=target)
    with files.disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copytree(
            recipe.folder,
            target,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", ABOUT),
        )
    return target / FILE_NAME
