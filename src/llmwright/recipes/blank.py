"""The project file that ``llmwright init`` writes for the user's own data."""

from __future__ import annotations

import glob
import math
import os
from pathlib import Path

import yaml

from llmwright.core import files, schema
from llmwright.core.errors import ConfigError, closest
from llmwright.core.locale import text
from llmwright.core.project import FILE_NAME
from llmwright.operations import OPERATIONS


def write(target: Path, data: str | None, task: str | None) -> Path:
    """Write a commented project file and return its path.

    Args:
        target: The project's folder, made when missing.
        data: The user's file, folder or pattern, as seen from the current folder; a placeholder
            path when not given.
        task: The task; left to `prepare` to recognise when not given.

    Raises:
        ConfigError: The folder has a project already (``RECIPE-001``), there is no such data
            (``RECIPE-003``) or no such task (``RECIPE-005``).
    """
    if task is not None and task not in tasks():
        raise ConfigError("RECIPE-005", task=task, hint=closest(task, tasks()))
    file = target / FILE_NAME
    if file.exists():
        raise ConfigError("RECIPE-001", path=target)
    place = _from_project(data, target) if data else "data/train.csv"
    lines = [
        f"name: {_one_line(target.resolve().name)}",
        f"task: {task}" if task else f"# task: text-classification   # {text('recipes.task')}",
        "prepare:",
        f"  source: {_one_line(place)}   # {text('recipes.source')}",
        "  clean: [unicode, whitespace, dedupe]",
        "  split: {validation: 0.1, test: 0.1, seed: 42}",
        f"tokenize: {{kind: bpe, vocab_size: 8000}}   # {text('recipes.tokenize')}",
        "train:",
        f"  epochs: 10   # {text('recipes.train')}",
        "evaluate: {}",
        "export: {format: onnx}",
        "",
    ]
    with files.disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines), encoding="utf-8")
    return file


def tasks() -> tuple[str, ...]:
    """Return the names of the tasks that a project may have."""
    fields = schema.fields_of(OPERATIONS["prepare"].config_class())
    return next(field.choices for field in fields if field.name == "task")


def _one_line(value: str) -> str:
    return yaml.safe_dump(value, allow_unicode=True, width=math.inf).split("\n")[0]


def _from_project(data: str, target: Path) -> str:
    """Return the path of the data as the project file needs it: from the project's folder."""
    path = Path(os.path.expanduser(data))
    if not glob.glob(str(path), recursive=True):
        raise ConfigError("RECIPE-003", path=data)
    return str(path) if path.is_absolute() else Path(os.path.relpath(path, target)).as_posix()
