"""The project file that ``llmwright init`` writes for the user's own data."""

from __future__ import annotations

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
        data: The user's file or folder; a placeholder path when not given.
        task: The task; left to `prepare` to recognise when not given.

    Raises:
        ConfigError: The folder has a project already (``RECIPE-001``).
    """
    file = target / FILE_NAME
    if file.exists():
        raise ConfigError("RECIPE-001", path=target)
    source = yaml.safe_dump(data or "data/train.csv", allow_unicode=True).split("\n")[0]
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
