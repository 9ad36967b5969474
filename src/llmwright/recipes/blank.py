"""The project file that ``llmwright init`` writes for the user's own data."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import yaml

from llmwright.core import files
from llmwright.core.errors import ConfigError
from llmwright.core.locale import text
from llmwright.core.project import FILE_NAME


def write(target: Path, data: str | None, task: str | None) -> Path:
    """Write a commented project file and return its path.

    Args:
        target: The project's folder, made when missing.
        data: The user's file, folder or pattern, as seen from the current folder; a placeholder
            path when not given.
        task: The task; left to `prepare` to recognise when not given.

    Raises:
        ConfigError: The folder has a project already (``RECIPE-001``), or there is no such data
            (``RECIPE-003``).
    """
    file = target / FILE_NAME
    if file.exists():
        raise ConfigError("RECIPE-001", path=target)
    place = _from_project(data, target) if data else "data/train.csv"
    source = yaml.safe_dump(place, allow_unicode=True).split("\n")[0]
    lines = [
        f"name: {yaml.safe_dump(target.resolve().name, allow_unicode=True).split(chr(10))[0]}",
        f"task: {task}" if task else f"# task: text-classification   # {text('recipes.task')}",
        "prepare:",
        f"  source: {source}   # {text('recipes.source')}",
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


def _from_project(data: str, target: Path) -> str:
    """Return the path of the data as the project file needs it: from the project's folder."""
    path = Path(data).expanduser()
    if not glob.glob(str(path), recursive=True):
        raise ConfigError("RECIPE-003", path=data)
    return str(path) if path.is_absolute() else Path(os.path.relpath(path, target)).as_posix()
