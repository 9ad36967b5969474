"""What people see in a terminal: progress of a run, tables, errors."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from llmwright.core import events, files
from llmwright.core.locale import catalogue, language, text

# Without a terminal a progress line is written this often, so that log files stay readable.
PLAIN_EVERY_SECONDS = 10.0
# What a model that has hardly learned writes most.
BLANK_LINES = re.compile(r"\n{3,}")


def print_json(value: Any) -> None:
    """Write one JSON value to stdout."""
    click.echo(files.to_json(value, indent=2))


def print_error(code: str, message: str, fix: str, where: str | None) -> None:
    """Write an error, where it is and what to do to stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble((f"{text('cli.error')} {code}: ", "bold red"), message))
    if where:
        console.print(Text(f"  {text('cli.at')} {where}", style="dim"))
    if fix:
        console.print(Text.assemble(("  → ", "bold green"), fix))


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table to stdout, under its title; headings that are all empty are left out."""
    shows = any(headings)
    table = Table(header_style="bold", box=None, pad_edge=False, show_header=shows)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*[Text(str(cell)) for cell in row])
    console = Console(highlight=False)
    if not console.is_terminal:
        # Cut to no width: what is piped elsewhere must stay whole.
        console = Console(highlight=False, width=400)
    with console.capture() as shown:
        if title:
            console.print(Text(f"\n{title}", style="bold"))
        console.print(table)
    # rich fills each line up to the table's width.
    click.echo("\n".join(line.rstrip() for line in shown.get().splitlines()))


class Terminal:
    """A consumer of events that shows them live on stderr, and gives the cursor back in the end.

    Args:
        quiet: Show warnings and errors only.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.quiet = quiet
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_plain: dict[str, float] = {}
        self._began: dict[str, tuple[float, float]] = {}
        self._figures: list[events.Metric] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the progress bars away, however the work ended."""
        self._close()

    def __call__(self, event: events.Event) -> None:
        """Show one event."""
        if self._figures and not _beside(event, self._figures[0]):
            self._say_figures()
        if isinstance(event, events.Notice) and event.level == "warning":
            self._say(Text.assemble(("  ! ", "bold yellow"), event.text))
        elif isinstance(event, events.RunFailed):
            self._close()
        elif not self.quiet:
            self._show(event)

    def _show(self, event: events.Event) -> None:
        match event:
            case events.RunStarted():
                self._say(
                    Text.assemble(("● ", "bold cyan"), (event.step, "bold"), f"  {event.run_id}")
                )
            case events.Progress():
                self._advance(event)
            case events.Notice():
                self._say(Text.assemble(("  · ", "cyan"), event.text))
            case events.Metric(split="train"):
                pass  # the progress bar shows it; the run's events keep it
            case events.Metric():
                self._figures.append(event)
            case events.Sample():
                shown = BLANK_LINES.sub("\n⋮\n", event.text).replace("\n", "\n      ")
                self._say(Text.assemble(("  » ", "magenta"), f"{event.prompt} → {shown}"))
            case events.ArtifactSaved():
                mark = ("  ✓ ", "green") if event.passed else ("  · ", "cyan")
                self._say(Text.assemble(mark, f"{event.kind} {event.artifact_id}"))
            case events.RunFinished():
                self._close()
                word = text("cli.unchanged") if event.reused else seconds(event.seconds)
                self._say(Text(f"  {word}", style="dim"))

    def _say(self, line: Text) -> None:
        console = self._progress.console if self._progress else self.console
        console.print(line)

    def _say_figures(self) -> None:
        """Show the figures that were measured together as one line."""
        first = self._figures[0]
        at = text("cli.step", step=first.step) + " " if first.step else ""
        figures = "  ".join(f"{word(one.name)} {one.value:.4g}" for one in self._figures)
        self._figures = []
        self._say(Text(f"  · {at}{word(first.split)} {figures}"))

    def _advance(self, event: events.Progress) -> None:
        values = "  ".join(quantity(name, value) for name, value in event.values.items())
        if not self.console.is_terminal:
            self._advance_plain(event, values)
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[count]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}"),
                console=self.console,
                transient=True,
            )
            self._progress.start()
        count = f"{number(event.done)}/{number(event.total)}" if event.total else number(event.done)
        shown: Any = {"count": f"{count} {word(event.unit)}".strip(), "values": values}
        task = self._tasks.get(event.stage)
        if task is None:
            task = self._progress.add_task(word(event.stage), total=event.total, **shown)
            self._tasks[event.stage] = task
        self._progress.update(task, completed=event.done, total=event.total, **shown)

    def _advance_plain(self, event: events.Progress, values: str) -> None:
        now = time.monotonic()
        last = self._last_plain.setdefault(event.stage, now)
        self._began.setdefault(event.stage, (now, event.done))
        if now - last < PLAIN_EVERY_SECONDS:
            return
        self._last_plain[event.stage] = now
        values = "  ".join(filter(None, (values, self._left(event, now))))
        total = f"/{number(event.total)}" if event.total else ""
        count = f"{number(event.done)}{total} {word(event.unit)}"
        self._say(Text(f"    {word(event.stage)} {count}  {values}".rstrip()))

    def _left(self, event: events.Progress, now: float) -> str:
        """Return how long the rest will take at the pace so far; empty where nobody knows."""
        began, done = self._began.setdefault(event.stage, (now, event.done))
        if not event.total or event.done <= done:
            return ""
        left = (event.total - event.done) * (now - began) / (event.done - done)
        return f"ETA {seconds(left)}"

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self._tasks.clear()
        self._last_plain.clear()
        self._began.clear()
        sys.stderr.flush()


def _beside(event: events.Event, figure: events.Metric) -> bool:
    """Say whether an event is a figure that was measured together with this one."""
    return isinstance(event, events.Metric) and (event.split, event.step) == (
        figure.split,
        figure.step,
    )


def word(name: str) -> str:
    """Return the name of a stage, unit or figure in the user's language, where it has one there."""
    known = catalogue(language(), "cli")["text"]
    return str(known.get(f"cli.word_{name}", name))


def quantity(name: str, value: float) -> str:
    """Return a figure as people read it: ``loss 1.2``, ``81 tokens/s``, ``memory 1.2 GB``."""
    what, unit = name.rpartition("_")[::2]
    if unit == "bytes":
        return f"{word(what)} {size(value)}"
    if unit == "second" and what.endswith("_per"):
        return f"{value:,.0f} {word(what.removesuffix('_per'))}/s"
    return f"{word(name)} {number(value)}"


def number(value: float | None) -> str:
    """Return a number as people read it: 1,234 or 0.0312."""
    if value is None:
        return "?"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def seconds(value: float) -> str:
    """Return a duration as people read it: 4.2 s or 3 min 05 s."""
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60):02d} s"


def size(num_bytes: float) -> str:
    """Return a size as people read it: 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
