"""The process that performs trials one after the other, beside others that do the same.

``python -m llmwright.tuning.worker ROOT`` reads JSON lines: an assignment, and an answer to each
evaluation it reports. It writes JSON lines: evaluations and outcomes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Any

from llmwright.core import files
from llmwright.core.errors import LLMwrightError, StoppedError
from llmwright.core.events import Event
from llmwright.core.plugins import load_project_plugins
from llmwright.core.project import Project
from llmwright.tuning.trial import Assignment, perform


def _own_output() -> IO[str]:
    """Return what the parent reads; what libraries print goes to the log instead."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def _listen(lines: queue.Queue[Any]) -> None:
    """Hand on what the parent writes; without a parent nobody wants the result."""
    for line in sys.stdin:
        lines.put(json.loads(line))
    os._exit(1)


def work(root: Path, output: IO[str]) -> None:
    """Perform what comes until the parent is gone."""
    lines: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_listen, args=[lines], daemon=True).start()
    load_project_plugins(Project(root))

    def say(**body: Any) -> None:
        output.write(files.to_json(body) + "\n")
        output.flush()

    def judge(step: int, value: float) -> bool:
        say(step=step, value=value)
        return bool(lines.get())

    def emit(event: Event) -> None:
        """Leave what happens within a trial to its own file of events."""

    while True:
        try:
            outcome = perform(Assignment(**lines.get()), emit, judge)
        except StoppedError:
            say(stopped=True)
        except LLMwrightError as error:
            values = {name: str(value) for name, value in error.values.items()}
            say(error=error.code, values=values)
        else:
            say(outcome=dataclasses.asdict(outcome))


if __name__ == "__main__":
    # Ctrl-C reaches every process of the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(Path(sys.argv[1]), _own_output())
