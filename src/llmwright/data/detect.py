"""Finding the format of a file, by its extension where that is certain, else by its content."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path

from llmwright.data.config import READERS
from llmwright.data.readers.conll import find_layout
from llmwright.data.readers.json_file import parse
from llmwright.data.readers.lines import open_bytes, open_text, read_lines

_SAME_AS = {
    "tab": "tsv", "ndjson": "jsonl", "pq": "parquet", "md": "text", "markdown": "text",
    "rst": "text",
    "conllu": "conll", "conllx": "conll", "bio": "conll", "iob": "conll", "iob2": "conll",
}  # fmt: skip
_SAMPLE_LINES = 500
_SAMPLE_CHARS = 100_000
_TAG = re.compile(r"[A-Z_][A-Za-z0-9_|.:-]*")
_MAX_TAGS = 100


def is_parquet(path: Path) -> bool:
    """Say whether a file begins like Parquet, whatever it is called."""
    with open_bytes(path) as file:
        return file.read(4) == b"PAR1"


def extension_format(path: Path) -> str | None:
    """Return the format that the extension stands for, ``.gz`` apart."""
    suffixes = [suffix[1:].lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == "gz":
        suffixes.pop()
    extension = suffixes[-1] if suffixes else ""
    extension = _SAME_AS.get(extension, extension)
    return extension if extension in READERS else None


def find_format(path: Path, encoding: str) -> tuple[str, bool]:
    """Return the format of a text file, and whether its content decided.

    Args:
        path: The file.
        encoding: Its codec name.
    """
    by_extension = extension_format(path)
    if by_extension not in (None, "json"):
        assert by_extension is not None
        return by_extension, False
    lines = _sample(path, encoding)
    if by_extension == "json":
        is_lines = _is_json_lines(lines)
        return ("jsonl", True) if is_lines else ("json", False)
    return _by_content(lines), True


def _sample(path: Path, encoding: str) -> list[str]:
    with open_text(path, encoding) as stream:
        lines = itertools.islice(read_lines(stream, _SAMPLE_CHARS), _SAMPLE_LINES)
        return [line.text for line in lines]


def _by_content(lines: list[str]) -> str:
    filled = [line.strip("\r\n") for line in lines if line.strip()]
    if not filled:
        return "text"
    if _is_json_lines(lines):
        return "jsonl"
    if re.match(r"\s*(\{\s*\"|\[\s*[\[{\"])", "".join(filled[:3])):
        return "json"
    if filled[0].startswith("__label__"):
        return "labelled"
    if _is_conll(lines):
        return "conll"
    tabs, agreeing = Counter(line.count("\t") for line in filled).most_common(1)[0]
    return "tsv" if tabs and agreeing >= 0.95 * len(filled) else "text"


def _is_json_lines(lines: list[str]) -> bool:
    """Say whether the first two lines with content are JSON objects, each for itself."""
    first = [line for line in lines if line.strip()][:2]
    if not first or not all(line.lstrip().startswith("{") for line in first):
        return False
    try:
        return all(isinstance(parse(line), dict) for line in first)
    except json.JSONDecodeError:
        return False


def _is_conll(lines: list[str]) -> bool:
    """Say whether lines hold a token and a tag, with blank lines between sentences."""
    layout = find_layout(lines)
    blanks = sum(not line.strip() for line in lines)
    if layout is None or not blanks:
        return False
    rows = [layout.cells(line) for line in lines if line.strip()]
    column = layout.names.index("upos" if "upos" in layout.names else "tags")
    tags = [row[column] for row in rows if len(row) == len(layout.names)]
    alike = sum(bool(_TAG.fullmatch(tag.strip())) for tag in tags)
    return alike >= 0.95 * len(tags) and len(set(tags)) <= _MAX_TAGS
