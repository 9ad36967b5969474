"""What a sink gets of a run: figures, samples and the settings, made from the run's events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmwright.core.events import Event, Metric, Progress, Sample, read_events

# Figures of progress that no metric says.
FOLLOWED = ("tokens_per_second", "memory_bytes")


@dataclass(frozen=True)
class SinkRequest:
    """What a sink is opened for.

    Attributes:
        run: The run's id.
        project: Name of the project's folder.
        root: Project folder, where relative paths start.
        folder: The run's own folder.
        shared: Folder for what all runs of the project share.
        settings: The config as plain values.
        step: Steps that an earlier process did; 0 in a new run.
        earlier: What it said of them.
        notice: Receives sentences for the user.
    """

    run: str
    project: str
    root: Path
    folder: Path
    shared: Path
    settings: dict[str, Any]
    step: int
    earlier: list[Event]
    notice: Callable[[str], None]

    def place(self, folder: str | None, otherwise: Path) -> Path:
        """Return the folder that was asked for, else another, as an absolute path; it exists."""
        found = otherwise if folder is None else self.root / Path(folder).expanduser()
        found.mkdir(parents=True, exist_ok=True)
        return found.resolve()


def said_before(file: Path, step: int) -> list[Event]:
    """Return the figures and samples that a run's event file has up to a step, in order of steps.

    Of two that say the same of one step, done again after a kill, the later one counts.
    """
    found: dict[tuple[str, str, str], tuple[float, Event]] = {}
    for _, event in read_events(file) if step else ():
        match event:
            case Metric():
                key, place = (event.split, event.name, str(event.step)), float(event.step)
            case Sample():
                key, place = ("sample", event.prompt, str(event.step)), float(event.step)
            case Progress(stage="train"):
                key, place = ("", "", str(event.done)), event.done
            case _:
                continue
        if place <= step:
            found[key] = (place, event)
    return [event for _, event in sorted(found.values(), key=lambda entry: entry[0])]


class Sink(ABC):
    """A consumer of events that writes figures and samples somewhere."""

    def __call__(self, event: Event) -> None:
        """Write what an event says, if it is a figure or a sample."""
        match event:
            case Metric():
                prefix = f"{event.split}/" if event.split else ""
                self.figure(prefix + event.name, event.value, event.step)
            case Progress(stage="train"):
                for name in FOLLOWED:
                    if name in event.values:
                        self.figure(f"train/{name}", event.values[name], int(event.done))
            case Sample():
                self.sample(event.prompt, event.text, event.step)
            case _:
                pass

    @abstractmethod
    def figure(self, name: str, value: float, step: int) -> None:
        """Write one figure, as in ``train/loss``."""

    @abstractmethod
    def sample(self, prompt: str, answer: str, step: int) -> None:
        """Write what the model answers to a prompt."""

    @abstractmethod
    def close(self, failed: bool) -> None:
        """Write what is left.

        Args:
            failed: Whether the run ended with an error or was stopped.
        """
