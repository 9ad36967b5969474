"""The house stays easy to see: small files, short functions, shallow nesting, few entries."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "llmwright"
FILES = sorted(SOURCE.rglob("*.py"))
BANNED = {"utils", "helpers", "misc", "common", "constants", "manager"}
NESTING = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, found)]


def depth(node: ast.AST) -> int:
    """Deepest nesting of blocks below a node; elif counts as its if, functions start anew."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        here = depth(child)
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and [child] == node.orelse
        if isinstance(child, NESTING) and not is_elif:
            here += 1
        deepest = max(deepest, here)
    return deepest


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_file_keeps_its_budget(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= 500
    assert path.stem not in BANNED
    for function in functions(tree):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= 60, f"{function.name} has {length} lines"
        assert depth(function) <= 3, f"{function.name} nests {depth(function)} deep"


def test_folders_have_at_most_20_entries() -> None:
    for folder in {path.parent for path in FILES} - {SOURCE}:
        entries = [p for p in folder.iterdir() if p.name != "__pycache__"]
        assert len(entries) <= 20, f"{folder} has {len(entries)} entries"


def test_stage_init_files_are_empty() -> None:
    for path in SOURCE.glob("*/__init__.py"):
        assert path.read_text(encoding="utf-8").strip() == "", path


def test_median_is_said(record_property: pytest.RecordProperty) -> None:
    lengths = [path.read_text(encoding="utf-8").count("\n") for path in FILES]
    sizes = [n for n in lengths if n]
    record_property("median_lines", statistics.median(sizes))
    assert statistics.median(sizes) < 500


def test_posix_only_calls_stay_in_jobs() -> None:
    banned = ("os.fork", "os.setsid", "SIGKILL", "start_new_session", "os.killpg")
    allowed = {SOURCE / "core" / "jobs.py"}
    for path in FILES:
        if path in allowed:
            continue
        text = path.read_text(encoding="utf-8")
        assert not [word for word in banned if word in text], path
