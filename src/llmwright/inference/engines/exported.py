"""What an export says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.errors import InputError

EXPORT_FILE = "export.json"


def is_export(folder: Path, format_name: str) -> bool:
    """Say whether a folder is an export in a format.

    Raises:
        InputError: As `read_export`.
    """
    path = folder / EXPORT_FILE
    return path.is_file() and read_export(folder).get("format") == format_name


def read_export(folder: Path) -> dict[str, Any]:
    """Return what ``export.json`` says, ``graphs`` (name → file) among it.

    Raises:
        InputError: It is damaged (``INFER-006``).
    """
    path = folder / EXPORT_FILE
    try:
        info = files.read_json(path)
        graphs = {str(name): str(file) for name, file in info.get("graphs", {}).items()}
    except (ValueError, AttributeError) as error:
        raise InputError("INFER-006", path=path, reason=str(error)) from error
    return {**info, "graphs": graphs}
