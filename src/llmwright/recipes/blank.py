"""The project file that ``llmwright init`` writes for the user's own data."""

from __future__ import annotations

import glob
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from llmwright.core import files, schema
from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, LLMwrightError, closest
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
    seen = _look_at(data, task) if data else Seen()
    lines = [
        f"name: {_one_line(target.resolve().name)}",
        f"task: {task}" if task else f"# task: {seen.task}   # {text('recipes.task')}",
        "prepare:",
        f"  source: {_one_line(place)}   # {text('recipes.source')}",
        *([f"  columns: {seen.columns}   # {text('recipes.columns')}"] if seen.columns else []),
        "  clean: [unicode, whitespace, dedupe]",
        "  split: {validation: 0.1, test: 0.1, seed: 42}",
        f"tokenize: {{kind: {seen.tokenizer}, vocab_size: 8000}}   # {text('recipes.tokenize')}",
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


class Seen(NamedTuple):
    """What a look at the data suggests.

    Attributes:
        task: The task that `prepare` will recognise.
        columns: The columns, where it needs to be told.
        tokenizer: Kind of tokenizer.
    """

    task: str = "text-classification"
    columns: str | None = None
    tokenizer: str = "bpe"


def _look_at(data: str, task: str | None) -> Seen:
    """Return what the first records suggest; what is wrong with them is `prepare`'s to report."""
    from llmwright.data.config import PrepareConfig
    from llmwright.data.intake import Intake
    from llmwright.data.recognise import is_unnamed, recognise
    from llmwright.data.report import Report

    source = str(Path(os.path.expanduser(data)).absolute())
    config = parse(PrepareConfig, {"source": source, "task": task})
    names: list[str] = []
    tokenizer = "bpe"
    with tempfile.TemporaryDirectory() as folder, Report(Path(folder) / "rejected.jsonl") as report:
        try:
            sample = Intake(config, Path.cwd(), lambda said: None).sample(report)
            names = list(sample[0]) if sample else []
            tokenizer = "char" if _is_chinese(sample) else "bpe"
            found = recognise(sample, data, config, lambda said: None)
            return Seen(found.task, tokenizer=tokenizer)
        except LLMwrightError as error:
            two_texts = error.code == "DATA-032" and len(names) == 2 and all(map(is_unnamed, names))
    if two_texts and task in (None, "seq2seq", "text-generation"):
        return Seen("seq2seq", f"{{input: {names[0]}, target: {names[1]}}}", tokenizer)
    return Seen(tokenizer=tokenizer)


def _is_chinese(sample: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether records are mostly Chinese, a character of which is as much as some letters."""
    letters = [char for values in sample for char in str(list(values.values())) if char.isalpha()]
    num_chinese = sum("\u3400" <= char <= "\u9fff" for char in letters)
    return num_chinese > 0.3 * len(letters)


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
