"""What a run says while it works: a closed union of typed events.

Operations emit events and never print. The terminal, the run's ``events.jsonl`` and later the
Studio and experiment trackers are consumers, each a function that takes one event.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from llmwright.core import files


@dataclass(frozen=True)
class RunStarted:
    """A run began."""

    run_id: str
    operation: str
    step: str


@dataclass(frozen=True)
class Progress:
    """Work went on: ``done`` of ``total`` units (total None: unknown), with values to show."""

    stage: str
    done: float
    total: float | None
    unit: str = ""
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A measured figure at an optimizer step (0 where steps have no meaning)."""

    name: str
    value: float
    step: int = 0
    split: str = ""


@dataclass(frozen=True)
class Sample:
    """What the model answers to a fixed prompt at this step."""

    prompt: str
    text: str
    step: int = 0


@dataclass(frozen=True)
class Notice:
    """A sentence for the user: what was found, decided or switched on."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class ArtifactSaved:
    """An artifact is complete and visible in the store; a report may say that something failed."""

    artifact_id: str
    kind: str
    path: str
    passed: bool = True


@dataclass(frozen=True)
class RunFailed:
    """A run ended with an error; a code of ``CORE-099`` is a defect of ours."""

    code: str
    message: str
    fix: str


@dataclass(frozen=True)
class RunFinished:
    """A run ended well; ``reused`` when an unchanged step was skipped."""

    seconds: float
    artifact_id: str | None = None
    reused: bool = False


Event = RunStarted | Progress | Metric | Sample | Notice | ArtifactSaved | RunFailed | RunFinished
Emit = Callable[[Event], None]


def unheard(event: Event) -> None:
    """Take an event that nobody asked for."""


_TYPES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (RunStarted, Progress, Metric, Sample, Notice, ArtifactSaved, RunFailed, RunFinished)
}


class EventFile:
    """An append-only JSONL file of events, one line each with its time in seconds since 1970."""

    def __init__(self, path: Path) -> None:
        files.drop_cut_line(path)
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, event: Event) -> None:
        """Append one event and hand it to the operating system."""
        self._file.write(to_line(event) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        # Closing flushes: on a full disk the half line stays in the buffer and may not hide the
        # error that brought us here.
        with contextlib.suppress(OSError):
            self._file.close()


def to_line(event: Event) -> str:
    """Return an event as one line of JSON."""
    body = {"time": round(time.time(), 3), "event": type(event).__name__}
    return files.to_json({**body, **dataclasses.asdict(event)})


def from_line(line: str) -> tuple[float, Event]:
    """Return time and event of one line; the inverse of `to_line`."""
    body = json.loads(line)
    when = float(body.pop("time"))
    # A figure that is null was no number (a loss that overflowed).
    if "value" in body:
        body["value"] = _figure(body["value"])
    if "values" in body:
        body["values"] = {name: _figure(value) for name, value in body["values"].items()}
    event: Event = _TYPES[body.pop("event")](**body)
    return when, event


def _figure(value: float | None) -> float:
    return math.nan if value is None else value


def read_events(path: Path) -> Iterator[tuple[float, Event]]:
    """Yield the events of a file; a last line cut by a kill is left out."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield from_line(line.decode("utf-8"))
