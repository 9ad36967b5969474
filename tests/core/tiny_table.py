"""Three small operations for tests: real configs, real functions, no models."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from llmwright.core import pipeline, registry
from llmwright.core.artifacts import Artifact
from llmwright.core.config import Choice, Config, Input, Kind, Name
from llmwright.core.errors import CheckError
from llmwright.core.events import Metric
from llmwright.core.operation import Operation
from llmwright.core.project import Project
from llmwright.core.registry import Registry
from llmwright.core.runs import CHECKPOINTS, Run

# The fixture `python`: runs code in a process of its own.
Python = Callable[..., subprocess.CompletedProcess[str]]


class Upper(Kind):
    """Write everything in capitals."""

    implementation = "tiny_table:shout"
    kind: Literal["upper"] = "upper"
    """Name."""
    mark: str = ""
    """Put behind each line."""


class Cut(Kind):
    """Keep the beginning of each line."""

    implementation = "tiny_table:cut"
    kind: Literal["cut"] = "cut"
    """Name."""
    num_chars: int
    """How much is kept."""


def shout(config: Upper, line: str) -> str:
    return line.upper() + config.mark


def cut(config: Cut, line: str) -> str:
    return line[: config.num_chars]


STYLES: Registry[type[Kind]] = Registry(
    "style", {"upper": "tiny_table:Upper", "cut": "tiny_table:Cut"}
)
COLOURS: Registry[str] = Registry("colour", {"red": "tiny_table:RED", "green": "tiny_table:GREEN"})
RED, GREEN = "#f00", "#0f0"
# Known only while a test of this folder runs (see conftest): other tests look at all registries.
OWN = {"style": STYLES, "colour": COLOURS}
for _kind in OWN:
    del registry._REGISTRIES[_kind]


class Bounds(Config):
    """Nested settings."""

    low: int = 0
    """Least."""
    high: int = 10
    """Most."""


class GatherConfig(Config):
    """Read a file."""

    source: str
    """Path of a text file."""
    task: str | None = None
    """Not used."""
    bounds: Bounds = Bounds()
    """Nested."""
    share: float = 0.5
    """A number."""
    limit: int | float | None = None
    """A union of numbers."""

    def local_files(self, root: Path) -> list[Path]:
        return [root / self.source]


class ShapeConfig(Config):
    """Change the lines of a text."""

    text: Annotated[str | None, Input("text")] = None
    """What is changed."""
    style: Annotated[Kind, Choice(STYLES)] = Upper()
    """How."""
    more: list[Annotated[Kind, Choice(STYLES)]] = []
    """And then."""
    colour: Annotated[str, Name(COLOURS)] = "red"
    """Which."""
    maybe: Annotated[str | None, Name(COLOURS)] = None
    """Perhaps which."""
    behave: str = "well"
    """What the operation does to the test."""


class CountConfig(Config):
    """Count the lines of a text."""

    text: Annotated[str | None, Input("text|shaped")] = None
    """What is counted."""


class RecountConfig(CountConfig):
    """Count after shaping."""

    shape: ShapeConfig = ShapeConfig()
    """How the text is shaped."""


def gather(config: GatherConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    with run.draft("text") as draft:
        (draft.path / "text.txt").write_bytes((run.root / config.source).read_bytes())
        draft.metadata["sources"] = [config.source]
    assert draft.artifact is not None
    return draft.artifact


def copy(config: GatherConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    """Gather without a word about the source."""
    with run.draft("text") as draft:
        (draft.path / "text.txt").write_bytes((run.root / config.source).read_bytes())
    assert draft.artifact is not None
    return draft.artifact


def shape(config: ShapeConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    lines = (inputs["text"].path / "text.txt").read_text(encoding="utf-8").splitlines()
    mark = run.folder / "began"
    run.emit(Metric("began_before", float(mark.exists())))
    mark.touch()
    with run.draft("shaped") as draft:
        (draft.path / "half.txt").write_text("half")
        _behave(config.behave, run)
        (draft.path / "half.txt").unlink()
        for style in (config.style, *config.more):
            lines = [style.build(line) for line in lines]
        (draft.path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    assert draft.artifact is not None
    return draft.artifact


def _behave(how: str, run: Run) -> None:
    if how == "fail":
        raise CheckError("CORE-032", identity="x", path="y", files="z")
    if how == "fail at work":
        with run.recoverable():
            raise CheckError("CORE-032", identity="x", path="y", files="z")
    if how == "keep":
        (run.folder / CHECKPOINTS).mkdir(exist_ok=True)
    if how == "break":
        raise ZeroDivisionError("a defect")
    if how == "fail once" and not run.resumed:
        raise CheckError("CORE-032", identity="x", path="y", files="z")
    if how == "die once" and not run.resumed:
        os.kill(os.getpid(), getattr(signal, "SIG" + "KILL"))
    if how == "wait" and not run.resumed:
        (run.root / "waiting").touch()
        with run.stoppable():
            while not run.should_stop():
                time.sleep(0.01)
        raise run.stop()
    if how == "wait deaf" and not run.resumed:
        (run.root / "waiting").touch()
        time.sleep(60)


def count(config: CountConfig, inputs: dict[str, Artifact], run: Run) -> Artifact:
    text = (inputs["text"].path / "text.txt").read_text(encoding="utf-8")
    with run.draft("count") as draft:
        (draft.path / "count.txt").write_text(str(len(text.splitlines())))
    assert draft.artifact is not None
    return draft.artifact


def operation(verb: str, makes: str) -> Operation:
    return Operation(
        verb, makes, f"tiny_table:{verb.capitalize()}Config", f"tiny_table:{verb}", f"{verb} it"
    )


TABLE = {
    "gather": operation("gather", "text"),
    "shape": operation("shape", "shaped"),
    "count": operation("count", "count"),
}


def load(root: Path, **overrides: object) -> Project:
    """The project of a folder, read anew."""
    return Project.load(root / "llmwright.yaml", TABLE, overrides=dict(overrides))


RUN = """
import sys
from pathlib import Path
from tiny_table import TABLE
from llmwright.core import pipeline
from llmwright.core.errors import LLMwrightError
from llmwright.core.project import Project
project = Project.load(Path(sys.argv[1]) / "llmwright.yaml", TABLE)
try:
    for done in pipeline.run_project(project, TABLE):
        print(done.step, done.reused)
except LLMwrightError as error:
    print(error.code)
"""


def run(project: Project, **settings: object) -> list[pipeline.Done]:
    fresh = load(project.root, **settings)
    return pipeline.run_project(fresh, TABLE)


def reused(done: list[pipeline.Done]) -> list[bool]:
    return [one.reused for one in done]


def text_of(done: pipeline.Done) -> str:
    assert done.artifact is not None
    return (done.artifact.path / "text.txt").read_text(encoding="utf-8")


def rewrite(project: Project, text: str) -> None:
    (project.root / "llmwright.yaml").write_text(text, encoding="utf-8")


def waiting_run(project: Project) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(project.root)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not (project.root / "waiting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process
