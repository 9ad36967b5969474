"""The process that converts a model: exporters patch torch while they trace, so they run alone.

``python -m llmwright.export.worker REQUEST.json`` reads where the model is, writes the files, and
leaves ``result.json`` beside the request: what ``export.json`` is to say, or the error.
``progress.json`` is rewritten before each graph.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from llmwright.core import files
from llmwright.core.errors import LLMwrightError
from llmwright.core.plugins import load_project_plugins
from llmwright.core.project import Project

PROGRESS_FILE = "progress.json"
RESULT_FILE = "result.json"


def work(request_file: Path) -> None:
    """Convert the model a request names."""
    from llmwright.export.config import EXPORTERS

    request = files.read_json(request_file)
    folder = request_file.parent

    def report(stage: str, done: int, total: int) -> None:
        files.write_json(folder / PROGRESS_FILE, {"stage": stage, "done": done, "total": total})

    result: dict[str, Any]
    try:
        load_project_plugins(Project(Path(request["root"])))
        values = request["format"]
        chosen = EXPORTERS.get(values["kind"]).model_validate(values)
        info = chosen.build(Path(request["source"]), Path(request["target"]), report)
        result = {"info": info}
    except LLMwrightError as error:
        values = {name: str(value) for name, value in error.values.items()}
        told = {"class": type(error).__name__, "code": error.code, "values": values}
        result = {"error": told}
    files.write_json(folder / RESULT_FILE, result)


if __name__ == "__main__":
    # The exporter writes about its progress; the parent keeps it as a log.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    work(Path(sys.argv[1]))
